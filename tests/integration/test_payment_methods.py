"""Every payment method of the contract ends right, and the provider's own list has one charge for each order, or none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec.structs import replace

from tests.conftest import RoomDatabase
from tests.integration.payment_fixtures import MODES, Till, new_order, open_till, provider_and_database
from tests.received import received
from tradewind.chassis.ids import new_id
from tradewind.services.payment.consumer import handlers

FLAKY = 40


@pytest_asyncio.fixture(params=MODES)
async def till(request: pytest.FixtureRequest, room_database: RoomDatabase, tmp_path: Path) -> AsyncIterator[Till]:
    async with provider_and_database(room_database, tmp_path) as (access, sandbox):
        async with open_till(access, sandbox, capture=request.param) as till:
            yield till


async def test_a_card_is_charged_and_booked_once(till: Till) -> None:
    order = await till.pay()
    seen = await till.see(order)
    assert seen["order_id"] == order.id
    assert seen["captured"] == seen["amount"] == {"amount_minor": 1999, "currency": "EUR"}
    assert seen["refunded"]["amount_minor"] == 0
    assert [charge["status"] for charge in await till.charges(order)] == ["succeeded"]
    assert await till.told(order) == till.story("captured")
    assert await till.booked(order) == [("capture", 1999)]
    await till.check_books()


async def test_orders_recorded_together_keep_their_own_traces(till: Till) -> None:
    orders = [new_order() for _ in range(5)]
    traces = {order.payment_id: new_id().replace("-", "") for order in orders}
    async with till.database.transaction() as tx:
        placed = [
            replace(received(order.placed), traceparent=f"00-{traces[order.payment_id]}-{'1' * 16}-00")
            for order in orders
        ]
        await handlers.apply(till.parts, tx, placed)
    for order in orders:
        await till.until(order, "captured")
    for row in await till.database.rows("SELECT key, traceparent FROM outbox"):
        assert row["traceparent"].split("-")[1] == traces[row["key"]]


@pytest.mark.parametrize(
    ("method", "code"),
    [
        ("pm_card_chargeDeclined", "card_declined"),
        ("pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds"),
        ("pm_nobody_knows", "payment_method_unknown"),
    ],
)
async def test_a_decline_moves_nothing(till: Till, method: str, code: str) -> None:
    order = new_order(method)
    await till.place(order)
    assert (await till.until(order, "failed"))["code"] == code
    assert await till.told(order) == ["failed"]
    assert await till.booked(order) == []
    assert await till.taken_minor(order) == 0


async def test_a_time_out_that_did_charge_is_found(till: Till) -> None:
    order = new_order("pm_sandbox_timeout_charged")
    await till.place(order)
    assert (await till.see(order))["status"] == "processing"
    await till.until(order, "captured")
    assert len(await till.charges(order)) == 1
    assert await till.told(order) == till.story("captured")
    await till.check_books()


async def test_a_time_out_that_did_not_charge_is_charged_again_with_the_same_key(till: Till) -> None:
    order = new_order("pm_sandbox_timeout_not_charged")
    await till.place(order)
    await till.until(order, "captured")
    assert len(await till.charges(order)) == 1
    await till.check_books()


async def test_a_slow_provider_charges_once(till: Till) -> None:
    order = new_order("pm_sandbox_slow")
    await till.place(order)
    await till.until(order, "captured")
    assert len(await till.charges(order)) == 1
    await till.check_books()


async def test_a_flaky_provider_charges_each_order_once(till: Till) -> None:
    orders = [new_order("pm_sandbox_flaky", 1_000 + n) for n in range(FLAKY)]
    await till.place(*orders)
    for order in orders:
        await till.until(order, "captured", timeout_s=60.0)
        assert [charge["status"] for charge in await till.charges(order)] == ["succeeded"]
        assert await till.told(order) == till.story("captured")
    await till.check_books()


async def test_a_challenge_is_approved_and_confirmed(till: Till) -> None:
    customer = till.introduce()
    order = new_order("pm_card_authenticationRequired", customer_id=customer.subject)
    await till.place(order)
    seen = await till.until(order, "requires_action")
    assert seen["next_action"]["type"] == "redirect"

    early = await till.post(f"/v1/payments/{order.payment_id}/confirm", by=customer)
    assert early.status == 200
    assert early.json["status"] == "processing"
    await till.until(order, "requires_action")

    await till.approve(order)
    confirmed = await till.post(f"/v1/payments/{order.payment_id}/confirm", by=customer, key="once")
    assert confirmed.json["status"] == "processing"
    seen = await till.until(order, "captured")
    assert "next_action" not in seen
    assert await till.told(order) == till.story("requires_action", "captured")
    assert await till.booked(order) == [("capture", 1999)]

    again = await till.post(f"/v1/payments/{order.payment_id}/confirm", by=customer)
    assert (again.status, again.json["status"]) == (200, "captured")
    replayed = await till.post(f"/v1/payments/{order.payment_id}/confirm", by=customer, key="once")
    assert replayed.headers["idempotency-replayed"] == "true"
    assert replayed.json["status"] == "processing"


async def test_a_word_given_too_early_counts_a_moment_longer(till: Till) -> None:
    """Who is asked again while they answer the challenge has no reason to say a second time that they did."""
    customer = till.introduce()
    order = new_order("pm_card_authenticationRequired", customer_id=customer.subject)
    await till.place(order)
    await till.until(order, "requires_action")
    await till.post(f"/v1/payments/{order.payment_id}/confirm", by=customer)
    await till.until(order, "requires_action")
    await till.approve(order)
    await till.until(order, "captured")
    assert await till.told(order) == till.story("requires_action", "captured")


async def test_a_challenge_that_fails_is_a_decline(till: Till) -> None:
    customer = till.introduce()
    order = new_order("pm_card_authenticationRequired", customer_id=customer.subject)
    await till.place(order)
    await till.approve(order, decision="decline")
    await till.post(f"/v1/payments/{order.payment_id}/confirm", by=customer)
    assert (await till.until(order, "failed"))["code"] == "authentication_failed"
    refused = await till.post(f"/v1/payments/{order.payment_id}/confirm", by=customer)
    assert (refused.status, refused.json["code"]) == (409, "illegal-transition")


async def test_only_its_customer_confirms_a_payment(till: Till) -> None:
    order = new_order("pm_card_authenticationRequired")
    await till.place(order)
    await till.until(order, "requires_action")
    for stranger in (till.introduce(), till.support):
        answer = await till.post(f"/v1/payments/{order.payment_id}/confirm", by=stranger)
        assert (answer.status, answer.json["code"]) == (404, "payment-not-found")
    keyless = await till.ask("POST", f"/v1/payments/{order.payment_id}/confirm", by=till.introduce())
    assert keyless.json["code"] == "idempotency-key-required"


async def test_the_same_order_heard_twice_is_one_payment(till: Till) -> None:
    order = new_order()
    await till.place(order)
    await till.place(order)
    await till.until(order, "captured")
    await till.place(order)
    assert len(await till.charges(order)) == 1
    assert await till.told(order) == till.story("captured")
