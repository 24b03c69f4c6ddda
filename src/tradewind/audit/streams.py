"""Waiting until everything that was committed before the audit began has taken its course.

An event sits in an outbox, then in a partition of the bus, then it has taken effect, and often caused another event, or a
call to the provider that causes one. `COURSE` is the longest way there is; each step is waited for up to where things stood
when its turn came, so that new traffic meanwhile does no harm.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import msgspec

from tradewind.audit.books import BUS, PAYMENT
from tradewind.audit.bus import Bus
from tradewind.audit.look import Look

POLL_S = 0.05
OUTCOMES_SHARE = 0.8
"""Of the whole time, what may be spent on the provider: it may be away, and the streams are to be waited for all the same."""

Say: TypeAlias = Callable[[str], None]
Waiting: TypeAlias = Callable[[], Awaitable[list[str]]]
Step: TypeAlias = Callable[[Mapping[str, Look], Bus], Awaitable[Waiting]]

# Of what is visible now, the last one: rows that commit later with lower ids only make us wait longer.
_LAST_IN_OUTBOX = "SELECT coalesce(max(id), 0) FROM outbox"
_IN_OUTBOX = "SELECT count(*) FROM outbox WHERE id <= $1"
_NOW = "SELECT clock_timestamp()"
_CHARGES = "SELECT count(*) FROM attempt WHERE status IN ('processing', 'authorized') AND created_at <= $1"
_REFUNDS = "SELECT count(*) FROM refund WHERE status = 'pending' AND created_at <= $1"


class Settled(msgspec.Struct, frozen=True):
    """What had not passed in time, a sentence each: streams, and questions that the provider has not answered."""

    streams: list[str]
    outcomes: list[str]


async def settle(looks: Mapping[str, Look], bus: Bus, *, timeout_s: float, say: Say) -> Settled:
    """Wait until what was under way has arrived everywhere, for `timeout_s` in all.

    Raises:
        Unavailable: a database is away.
    """
    started_s = time.monotonic()
    outcomes: list[str] = []
    for step in COURSE:
        of_the_provider = step in (_charges, _refunds)
        deadline_s = started_s + timeout_s * (OUTCOMES_SHARE if of_the_provider else 1.0)
        left = await _until_none(await step(looks, bus), deadline_s, say)
        if of_the_provider:
            outcomes += left
        elif left:
            return Settled(left, outcomes)
    return Settled([], outcomes)


async def _outboxes(looks: Mapping[str, Look], _bus: Bus) -> Waiting:
    producers = [look for name, look in looks.items() if name != BUS]
    last = {look.name: await look.value(_LAST_IN_OUTBOX) for look in producers}

    async def waiting() -> list[str]:
        counts = await asyncio.gather(*(look.value(_IN_OUTBOX, last[look.name]) for look in producers))
        return [
            f"{look.name}-service: {count} of its events not published"
            for look, count in zip(producers, counts, strict=True)
            if count
        ]

    return waiting


async def _topics(_looks: Mapping[str, Look], bus: Bus) -> Waiting:
    heads = (await bus.standing()).heads

    async def waiting() -> list[str]:
        return (await bus.standing()).behind(heads)

    return waiting


async def _charges(looks: Mapping[str, Look], _bus: Bus) -> Waiting:
    return await _outcomes(looks[PAYMENT], "charges", _CHARGES)


async def _refunds(looks: Mapping[str, Look], _bus: Bus) -> Waiting:
    return await _outcomes(looks[PAYMENT], "refunds", _REFUNDS)


async def _outcomes(payment: Look, what: str, query: str) -> Waiting:
    moment = await payment.value(_NOW)

    async def waiting() -> list[str]:
        count = await payment.value(query, moment)
        return [f"payment-service: {count} of its {what} without an outcome"] if count else []

    return waiting


async def _until_none(waiting: Waiting, deadline_s: float, say: Say) -> list[str]:
    while left := await waiting():
        if time.monotonic() > deadline_s:
            return left
        say(f"waiting: {'; '.join(left)}")
        await asyncio.sleep(POLL_S)
    return []


COURSE: tuple[Step, ...] = (
    *(_outboxes, _topics),  # order.placed reaches payment-service
    *(_charges, _outboxes, _topics),  # payment.captured reaches order-service
    *(_outboxes, _topics),  # order.cancelled reaches payment-service
    *(_refunds, _outboxes, _topics),  # payment.refunded reaches order-service
    *(_outboxes, _topics),  # and what that cancels reaches everybody
)
"""The longest way of an event: an order whose money came, and went back."""
