"""The clock door of order-service."""

from __future__ import annotations

from tradewind.chassis import logs
from tradewind.chassis.jobs import Job
from tradewind.services.order.parts import Parts
from tradewind.services.order.usecases import ordering

_log = logs.get_logger("jobs")


def expiry_job(every_s: float) -> Job[Parts]:
    """Ends pending orders past their deadline."""
    return Job("expire-orders", every_s, _expire)


async def _expire(parts: Parts) -> None:
    expired = await ordering.expire_orders(parts)
    if expired:
        _log.info("orders expired", orders=expired)
