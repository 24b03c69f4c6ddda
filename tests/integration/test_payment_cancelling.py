"""A cancelled order keeps no money, whenever the word comes: before, while or after it is charged."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.conftest import RoomDatabase
from tests.integration.payment_fixtures import MODES, Till, eventually, new_order, open_till, provider_and_database
from tests.received import received
from tradewind.contracts.order import OrderSettlementDue
from tradewind.services.payment.consumer import handlers
from tradewind.services.payment.usecases import take_up_due


@pytest_asyncio.fixture(params=MODES)
async def till(request: pytest.FixtureRequest, room_database: RoomDatabase, tmp_path: Path) -> AsyncIterator[Till]:
    async with provider_and_database(room_database, tmp_path) as (access, sandbox):
        async with open_till(access, sandbox, capture=request.param) as till:
            yield till


async def test_after_the_charge_all_that_is_left_goes_back(till: Till) -> None:
    order = await till.pay()
    await till.refund(order, 500)
    await till.until(order, "partially_refunded")
    await till.cancel(order)
    seen = await till.until(order, "refunded")
    assert [each["amount"]["amount_minor"] for each in seen["refunds"]] == [500, 1499]
    assert await till.taken_minor(order) == 0
    await till.cancel(order)
    assert await till.told(order) == till.story("captured", "refunded", "refunded")
    assert (await till.refund(order)).status == 409
    await till.check_books()


async def test_where_the_word_of_the_cancellation_was_lost_the_question_after_the_money_does(till: Till) -> None:
    paid, unheard_of = await till.pay(), new_order()
    asked = [
        OrderSettlementDue(
            order_id=order.id,
            number="T-1",
            customer_id=order.customer_id,
            payment_id=order.payment_id,
            total=order.total,
        )
        for order in (paid, unheard_of)
    ]
    for version in (3, 4):
        async with till.database.transaction() as tx:
            events = [received(event, subject=event.order_id, version=version) for event in asked]
            await handlers.apply(till.parts, tx, events)
    await till.until(paid, "refunded")
    assert await till.told(paid) == till.story("captured", "refunded")
    assert await till.told(unheard_of) == ["cancelled"]
    assert await till.taken_minor(paid) == 0
    await till.check_books()


async def test_while_it_is_charged_what_was_taken_goes_back_and_what_is_held_is_let_go_of(till: Till) -> None:
    await till.weather(latency_ms=400)
    order = new_order()
    await till.place(order)
    await till.cancel(order)
    assert (await till.see(order))["status"] == "processing"
    if till.parts.capture_at_once:
        await till.until(order, "refunded")
        assert await till.told(order) == ["captured", "refunded"]
    else:
        await till.until_nothing_is_held(order)
    assert await till.taken_minor(order) == 0
    await till.check_books()


async def test_placed_and_cancelled_in_one_breath(till: Till) -> None:
    orders = [new_order() for _ in range(20)]
    async with till.database.transaction() as tx:
        events = [received(order.placed, subject=order.id) for order in orders]
        gone = [received(order.cancelled(), subject=order.id, version=2) for order in orders]
        await handlers.apply(till.parts, tx, [*events, *gone])
    for order in orders:
        await till.until(order, "refunded", "cancelled")
        assert await till.taken_minor(order) == 0
    await till.check_books()


async def test_a_challenge_nobody_answered_is_let_go_of(till: Till) -> None:
    order = new_order("pm_card_authenticationRequired")
    await till.place(order)
    await till.until(order, "requires_action")
    await till.cancel(order)
    await till.until(order, "cancelled")
    assert [charge["status"] for charge in await till.charges(order)] == ["cancelled"]
    assert await till.told(order) == ["requires_action", "cancelled"]


async def test_a_challenge_that_comes_after_the_cancellation_is_let_go_of(till: Till) -> None:
    await till.weather(latency_ms=400)
    order = new_order("pm_card_authenticationRequired")
    await till.place(order)
    await till.cancel(order)
    await till.until(order, "cancelled")
    assert [charge["status"] for charge in await till.charges(order)] == ["cancelled"]
    assert await till.told(order) == ["cancelled"]


async def test_a_decline_needs_no_letting_go(till: Till) -> None:
    order = new_order("pm_card_chargeDeclined")
    await till.place(order)
    await till.until(order, "failed")
    await till.cancel(order)
    assert (await till.see(order))["status"] == "failed"
    assert await till.told(order) == ["failed"]


async def test_what_was_never_charged_is_not_charged_any_more(till: Till) -> None:
    order = new_order("pm_sandbox_timeout_not_charged")
    await till.place(order)
    await till.cancel(order)
    await till.until(order, "cancelled")
    assert await till.charges(order) == []
    assert await till.told(order) == ["cancelled"]


async def test_a_charge_that_lands_after_it_was_given_up_is_undone(till: Till) -> None:
    """Our call times out, the provider has not heard of it, the order is cancelled; and then it lands after all. Where it
    only held the money it is let go of.
    """
    await till.weather(latency_ms=6_000)
    order = new_order()
    await till.place(order)
    await till.cancel(order)
    await till.until(order, "cancelled")
    assert await till.charges(order) == []
    await till.weather(latency_ms=0)
    if till.parts.capture_at_once:
        await till.until(order, "refunded", timeout_s=30.0)
        assert await till.told(order) == ["cancelled", "captured", "refunded"]
    else:
        await till.until_nothing_is_held(order, timeout_s=30.0)
    assert await till.taken_minor(order) == 0
    await till.check_books()


async def test_cancelled_before_the_order_was_heard_of_it_is_never_charged(till: Till) -> None:
    order = new_order()
    await till.cancel(order)
    assert (await till.see(order))["status"] == "cancelled"
    await till.place(order)
    await take_up_due(till.parts)
    assert await till.told(order) == ["cancelled"]
    assert await till.charges(order) == []
    assert (await till.refund(order)).json["code"] == "refund-exceeds-captured"


async def test_cancelled_during_an_outage(till: Till) -> None:
    """It was charged, nobody heard; it is cancelled, nobody answers; then all is put right."""
    order = new_order("pm_sandbox_timeout_charged")
    await till.place(order)

    async def charged() -> bool:
        return bool(await till.charges(order))

    await eventually(charged)
    await till.weather(outage_s=4.0, outage_mode="unavailable")
    await till.cancel(order)
    assert (await till.see(order))["status"] == "processing"
    if till.parts.capture_at_once:
        await till.until(order, "refunded", timeout_s=60.0)
        assert await till.told(order) == ["captured", "refunded"]
    else:
        await till.until_nothing_is_held(order, timeout_s=60.0)
    assert await till.taken_minor(order) == 0
    await till.check_books()
