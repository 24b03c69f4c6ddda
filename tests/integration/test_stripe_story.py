"""payment-service on Stripe: its real doors, consumer, jobs and PostgreSQL, and the stand-in behind the SDK."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio

from tests import stripe_stand_in
from tests.asgi import Response, call
from tests.conftest import RoomDatabase
from tests.integration.payment_fixtures import MODES, Order, Till, eventually, new_order, opened
from tests.stripe_stand_in.server import Fault, StripeStandIn, open_stand_in, sign
from tradewind.chassis.settings import Secret
from tradewind.services.payment.settings import PaymentSettings
from tradewind.services.payment.usecases import compare_charges
from tradewind.stack.provision import RoomAccess

WEBHOOKS = "/v1/payments/webhooks/stripe"


class StripeTill(Till):
    """A till whose provider is Stripe."""

    stand_in: StripeStandIn

    async def charges(self, order: Order) -> list[dict[str, Any]]:
        """Stripe's charges of an order that took money, in the words of the sandbox."""
        return [
            {"amount_captured_minor": charge["amount_captured"], "amount_refunded_minor": charge["amount_refunded"]}
            for charge in self.stand_in.books.charges.values()
            if charge["metadata"]["order_id"] == order.id and charge["amount_captured"]
        ]

    async def approve(self, order: Order, decision: str = "approve") -> None:
        """The customer is at the bank's page."""
        seen = await self.until(order, "requires_action")
        intent_id = seen["next_action"]["url"].removeprefix(f"{self.stand_in.url}/bank/")
        self.stand_in.books.authenticate(intent_id, approved=decision == "approve")

    async def hear(self, headers: Mapping[str, str], body: bytes) -> Response:
        """A webhook arrives at the door."""
        return await call(self.app, "POST", WEBHOOKS, body=body, headers=dict(headers))

    async def known(self) -> int:
        """Webhooks that are remembered."""
        return int(await self.database.value("SELECT count(*) FROM webhook_event"))

    async def confirm(self, order: Order) -> Response:
        """The customer comes back from the bank."""
        by = self.introduce(subject=order.customer_id)
        return await self.post(f"/v1/payments/{order.payment_id}/confirm", {}, by=by)


def settings_on(access: RoomAccess, stand_in: StripeStandIn, **more: Any) -> PaymentSettings:
    """Settings of a service on these two."""
    return PaymentSettings(
        environment="dev",
        provider="stripe",
        instance="payment-1",
        database_url=Secret(access.url),
        stripe_url=stand_in.url,
        stripe_api_key=Secret(stripe_stand_in.API_KEY),
        stripe_webhook_secret=Secret(stripe_stand_in.WEBHOOK_SECRET),
        stripe_return_url="https://shop.example.test/back",
        **more,
    )


@pytest_asyncio.fixture
async def till(request: pytest.FixtureRequest, room_database: RoomDatabase) -> AsyncIterator[StripeTill]:
    access = await room_database("payment")
    async with open_stand_in() as stand_in:
        async with opened(settings_on(access, stand_in, capture=getattr(request, "param", "automatic"))) as (
            app,
            parts,
            door,
        ):
            till = StripeTill(app, parts, None, door, access)  # type: ignore[arg-type]
            till.stand_in = stand_in

            async def deliver(headers: Mapping[str, str], body: bytes) -> None:
                answer = await till.hear(headers, body)
                assert answer.status == 200, answer.json

            stand_in.deliver = deliver
            yield till


@pytest.mark.parametrize("till", MODES, indirect=True)
async def test_an_order_is_paid_refunded_in_parts_and_the_books_agree(till: StripeTill) -> None:
    order = await till.pay()
    assert await till.told(order) == till.story("captured")
    assert (await till.refund(order, 500)).status == 201
    await till.until(order, "partially_refunded")
    assert (await till.refund(order)).status == 201
    await till.until(order, "refunded")
    assert await till.taken_minor(order) == 0
    assert await till.booked(order) == [("capture", 1999), ("refund", 500), ("refund", 1499)]
    assert (await till.refund(order, 1)).json["code"] == "refund-exceeds-captured"
    await till.check_books()


@pytest.mark.parametrize("till", MODES, indirect=True)
async def test_of_two_payment_intents_for_one_attempt_the_second_goes_back(till: StripeTill) -> None:
    order = await till.pay()
    books = till.stand_in.books
    (first,) = books.intents.values()
    again = {name: first[name] for name in ("amount", "currency", "payment_method", "capture_method", "metadata")}
    second = books.create_intent({**again, "confirm": True})
    await compare_charges(till.parts, every_s=0.0, pause_s=0.0)
    assert books.intents[second["id"]]["status"] == ("succeeded" if till.parts.capture_at_once else "canceled")
    assert await till.taken_minor(order) == 1999
    assert (await till.see(order))["status"] == "captured"
    await till.check_books()


async def test_a_decline_ends_the_payment(till: StripeTill) -> None:
    order = new_order("pm_card_chargeDeclinedInsufficientFunds")
    await till.place(order)
    seen = await till.until(order, "failed")
    assert seen["code"] == "insufficient_funds"
    assert await till.booked(order) == []


async def test_an_unknown_payment_method_ends_the_payment(till: StripeTill) -> None:
    order = new_order("pm_sandbox_slow")
    await till.place(order)
    assert (await till.until(order, "failed"))["code"] == "payment_method_unknown"


@pytest.mark.parametrize(("decision", "status"), [("approve", "captured"), ("decline", "failed")])
async def test_a_challenge_ends_by_the_webhook_alone(till: StripeTill, decision: str, status: str) -> None:
    order = new_order("pm_card_authenticationRequired")
    await till.place(order)
    await till.approve(order, decision)
    await till.until(order, status)
    assert await till.taken_minor(order) == (1999 if decision == "approve" else 0)
    await till.check_books()


async def test_a_challenge_ends_by_the_customers_word_alone(till: StripeTill) -> None:
    till.stand_in.deliver = None
    order = new_order("pm_card_authenticationRequired")
    await till.place(order)
    await till.approve(order)
    assert (await till.confirm(order)).status in (200, 202)
    await till.until(order, "captured")
    await till.check_books()


@pytest.mark.parametrize("till", MODES, indirect=True)
@pytest.mark.parametrize("fault", [Fault.LOST, Fault.DONE_AND_CUT, Fault.DONE_AND_FAILED, Fault.LIMITED])
async def test_whatever_becomes_of_the_request_the_money_is_taken_once(till: StripeTill, fault: Fault) -> None:
    till.stand_in.deliver = None
    till.stand_in.faults.append(fault)
    order = new_order()
    await till.place(order)
    await till.until(order, "captured")
    assert [charge["amount_captured_minor"] for charge in await till.charges(order)] == [1999]
    await till.check_books()


async def test_an_outage_is_ridden_out(till: StripeTill) -> None:
    till.stand_in.away = True
    orders = [new_order() for _ in range(5)]
    await till.place(*orders)
    for order in orders:
        assert (await till.see(order))["status"] == "processing"
    till.stand_in.away = False
    for order in orders:
        await till.until(order, "captured", timeout_s=60)
        assert len(await till.charges(order)) == 1

    async def answers_again() -> bool:
        answer = await till.ask("GET", "/v1/payments/reconciliation", by=till.finance)
        return all(standing["theirs_minor"] is not None for standing in answer.json["standings"])

    # The breaker may have opened at the end of the outage: then it is asked again in a while.
    await eventually(answers_again)
    await till.check_books()


@pytest.mark.parametrize("till", MODES, indirect=True)
@pytest.mark.parametrize("fault", [None, Fault.LOST, Fault.DONE_AND_CUT])
async def test_a_cancelled_order_keeps_no_money(till: StripeTill, fault: Fault | None) -> None:
    till.stand_in.faults.append(fault)
    order = new_order()
    await till.place(order)
    await till.cancel(order)

    async def over() -> bool:
        status = (await till.see(order))["status"]
        return status in ("cancelled", "refunded") and await till.taken_minor(order) == 0

    await eventually(over, 40)
    assert all(intent["status"] in ("canceled", "succeeded") for intent in till.stand_in.books.intents.values()), (
        "nothing is left that somebody could still pay"
    )
    await till.check_books()


async def test_a_challenge_of_a_cancelled_order_is_let_go_of(till: StripeTill) -> None:
    order = new_order("pm_card_authenticationRequired")
    await till.place(order)
    await till.until(order, "requires_action")
    await till.cancel(order)
    await till.until(order, "cancelled")
    (intent,) = till.stand_in.books.intents.values()
    assert intent["status"] == "canceled"


@pytest.mark.parametrize("till", MODES, indirect=True)
async def test_another_amount_than_ours_is_given_back(till: StripeTill) -> None:
    def distort(thing: dict[str, Any]) -> None:
        if thing["object"] == "payment_intent" and thing["status"] in ("succeeded", "requires_capture"):
            thing["amount"] += 1
            for name in ("amount_received", "amount_capturable"):
                thing[name] += 1 if thing[name] else 0
            charge = till.stand_in.books.charges[thing["latest_charge"]]
            charge["amount_captured"] = thing["amount_received"]

    till.stand_in.books.distort = distort
    order = new_order()
    await till.place(order)
    seen = await till.until(order, "failed")
    assert seen["code"] == "provider_mismatch"
    assert await till.taken_minor(order) == 0


async def test_webhooks_are_signed_and_count_once(till: StripeTill) -> None:
    till.stand_in.deliver = None
    await till.pay()
    event = json.dumps(till.stand_in.events[-1]).encode()
    for signature in (None, sign(event, "whsec_other"), sign(event, at=1.0), sign(event + b" ")):
        refused = await till.hear({} if signature is None else {"stripe-signature": signature}, event)
        assert (refused.status, refused.json["code"]) == (400, "signature-invalid")
    assert await till.known() == 0
    answers = await asyncio.gather(*[till.hear({"stripe-signature": sign(event)}, event) for _ in range(4)])
    assert {answer.status for answer in answers} == {200}
    assert await till.known() == 1
    other = json.dumps(till.stand_in.events[-1] | {"id": "evt_x", "type": "customer.created"}).encode()
    assert (await till.hear({"stripe-signature": sign(other)}, other)).status == 200
    elsewhere = await call(
        till.app, "POST", "/v1/payments/webhooks/sandbox", body=event, headers={"stripe-signature": sign(event)}
    )
    assert elsewhere.status == 404


async def test_a_refund_that_fails_later_can_be_asked_for_again(till: StripeTill) -> None:
    order = await till.pay(new_order("pm_card_pendingRefund"))
    answer = await till.refund(order, 500)
    assert answer.status == 201

    async def begun() -> str | None:
        return next(iter(till.stand_in.books.refunds), None)

    till.stand_in.books.end_refund(await eventually(begun), "failed")

    async def told() -> bool:
        return "refund_failed" in await till.told(order)

    await eventually(told)
    assert (await till.see(order))["status"] == "captured"
    assert await till.taken_minor(order) == 1999
