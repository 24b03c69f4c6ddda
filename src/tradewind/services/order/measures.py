"""What order-service shows on /metrics beside what the chassis does."""

from __future__ import annotations

from collections.abc import Mapping

from tradewind.chassis.metrics import Metrics
from tradewind.services.order.domain.order import Status
from tradewind.services.order.domain.saga import DEADLINES


class Measures:
    """Orders past their deadline, by the deadline: how often one passed, and how many wait behind one now."""

    def __init__(self, metrics: Metrics) -> None:
        self._passed = metrics.counter("orders_overdue", "Deadlines of orders that passed.", ("deadline",))
        self._stuck = metrics.gauge(
            "orders_stuck", "Orders past their deadline, as the deadline job last saw them.", ("deadline",)
        )

    def passed(self, status: Status) -> None:
        """Count the deadline of an order that is `status`."""
        self._passed.labels(DEADLINES[status].name).inc()

    def stuck(self, counts: Mapping[Status, int]) -> None:
        """Show how many orders of each status are past its deadline."""
        for status, deadline in DEADLINES.items():
            self._stuck.labels(deadline.name).set(counts.get(status, 0))
