"""Waiting until everything that was committed before the audit began has taken its course.

An event sits in an outbox, then in a partition of the bus, then it has taken effect, and often caused another event. So the
streams are passed several times over, each time up to where they stood then: after as many rounds as the longest chain
has hops, all that came of anything before the audit is there. New traffic meanwhile does no harm.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias

from tradewind.audit.books import BUS, PAYMENT
from tradewind.audit.look import Look

POLL_S = 0.05
HOPS = 5
"""order.placed, payment.captured, order.cancelled, payment.refunded, and what hears of that: five in a row."""

Say: TypeAlias = Callable[[str], None]
Waiting: TypeAlias = Callable[[], Awaitable[list[str]]]

# Of what is visible now, the last one: rows that commit later with lower ids only make us wait longer.
_LAST_IN_OUTBOX = "SELECT coalesce(max(id), 0) FROM outbox"
_IN_OUTBOX = "SELECT count(*) FROM outbox WHERE id <= $1"
_HEADS = "SELECT topic, partition, head FROM partition"
_BEHIND = """
    SELECT s.consumer_group, h.topic, sum(h.head - coalesce(o.next_offset, 0))::bigint AS n
    FROM subscription s
    JOIN unnest($1::text[], $2::int[], $3::bigint[]) AS h (topic, partition, head) ON h.topic = s.topic
    LEFT JOIN consumer_offset o
        ON o.consumer_group = s.consumer_group AND o.topic = h.topic AND o.partition = h.partition
    WHERE h.head > coalesce(o.next_offset, 0) GROUP BY 1, 2 ORDER BY 1, 2
"""
_NOW = "SELECT clock_timestamp()"
_UNDER_WAY = (
    ("charges", "SELECT count(*) FROM attempt WHERE status = 'processing' AND created_at <= $1"),
    ("refunds", "SELECT count(*) FROM refund WHERE status = 'pending' AND created_at <= $1"),
)


async def settle(looks: Mapping[str, Look], *, timeout_s: float, say: Say) -> list[str]:
    """Wait until what was under way has arrived everywhere; what had not after `timeout_s`, a sentence each.

    Raises:
        Unavailable: a database is away.
    """
    deadline_s = time.monotonic() + timeout_s
    for _ in range(HOPS):
        for waiting in (await _unsent(looks), await _unread(looks), await _under_way(looks)):
            if left := await _until_none(waiting, deadline_s, say):
                return left
    return []


async def _unsent(looks: Mapping[str, Look]) -> Waiting:
    producers = [look for name, look in looks.items() if name != BUS]
    last = {look.name: await look.value(_LAST_IN_OUTBOX) for look in producers}

    async def waiting() -> list[str]:
        counts = await asyncio.gather(*(look.value(_IN_OUTBOX, last[look.name]) for look in producers))
        return [
            f"{look.name}-service has {count} events in its outbox"
            for look, count in zip(producers, counts, strict=True)
            if count
        ]

    return waiting


async def _unread(looks: Mapping[str, Look]) -> Waiting:
    heads = await looks[BUS].rows(_HEADS)
    columns: Sequence[list[object]] = [[row[name] for row in heads] for name in ("topic", "partition", "head")]

    async def waiting() -> list[str]:
        return [
            f"{row['consumer_group']} is {row['n']} events behind on the topic {row['topic']}"
            for row in await looks[BUS].rows(_BEHIND, *columns)
        ]

    return waiting


async def _under_way(looks: Mapping[str, Look]) -> Waiting:
    payment = looks[PAYMENT]
    moment = await payment.value(_NOW)

    async def waiting() -> list[str]:
        counts = [(what, await payment.value(query, moment)) for what, query in _UNDER_WAY]
        return [f"payment-service has {count} {what} without an outcome" for what, count in counts if count]

    return waiting


async def _until_none(waiting: Waiting, deadline_s: float, say: Say) -> list[str]:
    while left := await waiting():
        if time.monotonic() > deadline_s:
            return left
        say(f"waiting: {'; '.join(left)}")
        await asyncio.sleep(POLL_S)
    return []
