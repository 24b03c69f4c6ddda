"""What payment-service shows on /metrics beside what the chassis does."""

from __future__ import annotations

from tradewind.chassis.metrics import Metrics
from tradewind.services.payment.domain.charge import Finding
from tradewind.services.payment.domain.refund import RefundFinding


class Measures:
    """Counts findings by kind: `captured`, `declined`, `unknown`, `wrong`, ... The last two are what to look at."""

    def __init__(self, metrics: Metrics) -> None:
        self._charges = metrics.counter(
            "payment_charge_findings", "What the provider was found to say of charges.", ("finding",)
        )
        self._refunds = metrics.counter(
            "payment_refund_findings", "What the provider was found to say of refunds.", ("finding",)
        )

    def wrong(self) -> None:
        """Count a charge of the provider's list that is not as we have it."""
        self._charges.labels("wrong").inc()

    def charge(self, finding: Finding) -> None:
        """Count a finding about a charge."""
        self._charges.labels(type(finding).__name__.lower()).inc()

    def refund(self, finding: RefundFinding) -> None:
        """Count a finding about a refund."""
        self._refunds.labels(type(finding).__name__.lower()).inc()
