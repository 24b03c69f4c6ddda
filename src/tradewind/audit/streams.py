"""Waiting until everything that was committed before the audit began has taken its course.

An event sits in an outbox, then in a partition of the bus, then it has taken effect, and often caused another event. So the
streams are passed several times over, each time up to where they stood then: after as many rounds as the longest chain
has hops, all that came of anything before the audit is there. New traffic meanwhile does no harm.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from tradewind.audit.sources import Look

POLL_S = 0.05
HOPS = 5
"""order.placed, payment.captured, order.confirmed, and a refund that came of it: at most five events in a row."""

_NOW = "SELECT clock_timestamp()"
_UNSENT = "SELECT count(*) FROM outbox WHERE created_at <= $1"
_HEADS = "SELECT topic, partition, head FROM partition"
_BEHIND = """
    SELECT coalesce(sum(greatest(h.head - coalesce(o.next_offset, 0), 0)), 0)::bigint
    FROM subscription s JOIN unnest($1::text[], $2::int[], $3::bigint[]) AS h (topic, partition, head) USING (topic)
    LEFT JOIN consumer_offset o
        ON o.consumer_group = s.consumer_group AND o.topic = h.topic AND o.partition = h.partition
"""
_UNDER_WAY = {
    "payment": """
        SELECT (SELECT count(*) FROM attempt WHERE status = 'processing' AND created_at <= $1)
             + (SELECT count(*) FROM refund WHERE status = 'pending' AND created_at <= $1)
    """,
}


async def settle(looks: Mapping[str, Look], *, timeout_s: float) -> bool:
    """Wait until what was under way has arrived everywhere; False when `timeout_s` was not enough."""
    deadline_s = time.monotonic() + timeout_s
    bus = looks["bus"]
    producers = [look for room, look in looks.items() if room != "bus"]
    for _ in range(HOPS):
        moment = await bus.value(_NOW)

        async def unsent(moment: object = moment) -> int:
            return sum([await look.value(_UNSENT, moment) for look in producers])

        async def under_way(moment: object = moment) -> int:
            return sum([await looks[room].value(query, moment) for room, query in _UNDER_WAY.items() if room in looks])

        if not await _until_none(unsent, deadline_s):
            return False
        heads = await bus.rows(_HEADS)
        columns = [[row[name] for row in heads] for name in ("topic", "partition", "head")]

        async def behind(columns: list[list[Any]] = columns) -> int:
            return int(await bus.value(_BEHIND, *columns))

        if not await _until_none(behind, deadline_s) or not await _until_none(under_way, deadline_s):
            return False
    return True


async def _until_none(count: Callable[[], Coroutine[Any, Any, int]], deadline_s: float) -> bool:
    while await count():
        if time.monotonic() > deadline_s:
            return False
        await asyncio.sleep(POLL_S)
    return True
