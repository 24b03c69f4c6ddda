"""The clock door of order-service."""

from __future__ import annotations

from tradewind.chassis import logs
from tradewind.chassis.jobs import Job
from tradewind.services.order.parts import Parts
from tradewind.services.order.usecases import deadlines

_log = logs.get_logger("jobs")


def deadline_job(every_s: float) -> Job[Parts]:
    """Sees to orders past the deadline of their status, and counts those that are stuck."""
    return Job("order-deadlines", every_s, _see_to)


async def _see_to(parts: Parts) -> None:
    passed = await deadlines.pass_deadlines(parts)
    if passed:
        _log.info("deadlines passed", orders=passed)
    await deadlines.count_stuck(parts)
