"""Whether everything that was begun has come to an end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping

from tradewind.audit.look import Look, open_looks
from tradewind.audit.sources import Sources
from tradewind.chassis.errors import Unavailable

SETTLE_TIMEOUT_S = 60.0
"""The promise: nothing is pending 60 s after faults end."""
POLL_S = 0.5
_PENDING = "SELECT id::text, payment_status FROM orders WHERE status = 'pending'"
_COUNTS = (
    ("payment", "charges without an outcome", "SELECT count(*) FROM attempt WHERE status = 'processing'"),
    ("payment", "refunds without an outcome", "SELECT count(*) FROM refund WHERE status = 'pending'"),
    ("notification", "mails not sent", "SELECT count(*) FROM mail WHERE sent_at IS NULL"),
)
_OUTBOX = "SELECT count(*) FROM outbox"


async def settle(
    sources: Sources,
    acknowledged: Callable[[], Collection[str]],
    challenge: Callable[[Collection[str]], Awaitable[None]],
) -> tuple[float, list[str]]:
    """Wait until nothing is pending any more; seconds it took, and what still is after `SETTLE_TIMEOUT_S`.

    `challenge` answers the bank for the orders with these ids. An order that no customer knows of and that waits for its
    customer at the bank is at rest: it ends by its deadline.
    """
    began_s = time.monotonic()
    left = ["nobody has looked yet"]
    while left and time.monotonic() - began_s < SETTLE_TIMEOUT_S:
        try:
            async with open_looks(sources.databases) as looks:
                left, waiting = await _left(looks, acknowledged())
        except Unavailable as problem:
            left, waiting = [problem.detail], set()
        if theirs := waiting & set(acknowledged()):
            await challenge(theirs)
        if left:
            await asyncio.sleep(POLL_S)
    return time.monotonic() - began_s, left


async def _left(looks: Mapping[str, Look], acknowledged: Collection[str]) -> tuple[list[str], set[str]]:
    pending = await looks["order"].rows(_PENDING)
    waiting = {row["id"] for row in pending if row["payment_status"] == "requires_action"}
    ids = [row["id"] for row in pending if row["id"] in acknowledged or row["id"] not in waiting]
    left = [f"{len(ids)} orders pending: {', '.join(ids[:3])}"] if ids else []
    for room, what, query in _COUNTS:
        if count := await looks[room].value(query):
            left.append(f"{count} {what}")
    for room, look in looks.items():
        if count := await look.value(_OUTBOX):
            left.append(f"{count} events of {room}-service not published")
    return left, waiting
