"""Taking up what was left: unknown outcomes, what a killed process had begun, refunds that wait for their next try."""

from __future__ import annotations

import asyncio

from tradewind.chassis.logs import get_logger
from tradewind.services.payment.charger import LEASE_S, Work
from tradewind.services.payment.parts import Parts
from tradewind.services.payment.store import queue
from tradewind.services.payment.usecases.pursuit import pursue

PROBES = 2
_log = get_logger(__name__)


async def take_up_due(parts: Parts) -> None:
    """Pursue all that is due, some at a time. While the provider does not answer, only as much as shows when it does."""
    while await _take_up_some(parts):
        if not parts.provider.answers:
            return


async def take_over(parts: Parts) -> None:
    """Make due what a process of our name had: it was killed, or stopped in the middle."""
    if found := await queue.release(parts.database, parts.instance):
        _log.info("taking over", instance=parts.instance, found=found)


async def _take_up_some(parts: Parts) -> bool:
    limit = parts.concurrency if parts.provider.answers else PROBES
    ours = {"provider": parts.provider.name, "holder": parts.instance}
    charges = await queue.claim_charges(parts.database, **ours, limit=limit, lease_s=LEASE_S)
    refunds = await queue.claim_refunds(parts.database, **ours, limit=limit, lease_s=LEASE_S)
    due: list[Work] = [*charges, *refunds]
    await asyncio.gather(*(pursue(parts, work) for work in due))
    return bool(due)
