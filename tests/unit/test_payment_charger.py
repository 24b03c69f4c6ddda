"""New work is pursued at once, some at a time, and dropped rather than begun late."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from tradewind.chassis.clock import ManualClock
from tradewind.contracts.money import Money
from tradewind.services.payment.charger import MAX_WAITING, START_WITHIN_S, Charger, Work
from tradewind.services.payment.domain.refund import Refund
from tradewind.services.payment.domain.work import RefundWork


def works(count: int) -> list[Work]:
    return [
        RefundWork(
            refund=Refund(id=str(n), payment_id="p", amount_minor=1, reason=""), charge_id="ch", amount=Money(1, "EUR")
        )
        for n in range(count)
    ]


class Provider:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.asked: list[Work] = []
        self.answering = asyncio.Semaphore(0)

    async def pursue(self, work: Work) -> None:
        self.asked.append(work)
        await self.answering.acquire()

    def answer(self, times: int = 1) -> None:
        for _ in range(times):
            self.answering.release()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def made(concurrency: int = 2) -> tuple[Provider, ManualClock, Charger]:
    provider, clock = Provider(), ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    return provider, clock, Charger(provider.pursue, concurrency=concurrency, clock=clock)


async def test_some_at_a_time_in_order() -> None:
    provider, _, charger = made()
    wanted = works(5)
    charger.take(wanted)
    await settle()
    assert (provider.asked, charger.under_way) == (wanted[:2], 2)
    provider.answer()
    await settle()
    assert provider.asked == wanted[:3]
    provider.answer(4)
    await settle()
    assert (provider.asked, charger.under_way) == (wanted, 0)


async def test_what_waited_too_long_is_left_to_others() -> None:
    provider, clock, charger = made()
    wanted = works(4)
    charger.take(wanted[:3])
    await settle()
    clock.advance(START_WITHIN_S + 0.1)
    charger.take(wanted[3:])
    provider.answer(4)
    await settle()
    assert provider.asked == [wanted[0], wanted[1], wanted[3]]


async def test_the_line_is_bounded() -> None:
    provider, _, charger = made(concurrency=1)
    charger.take(works(MAX_WAITING + 100))
    provider.answer(MAX_WAITING + 100)
    while charger.under_way:
        await settle()
    assert len(provider.asked) == MAX_WAITING


async def test_closing_ends_what_is_under_way_and_begins_nothing() -> None:
    provider, _, charger = made()
    charger.take(works(5))
    await settle()
    closing = asyncio.create_task(charger.close())
    await settle()
    charger.take(works(1))
    assert not closing.done()
    provider.answer(2)
    await closing
    assert (len(provider.asked), charger.under_way) == (2, 0)
