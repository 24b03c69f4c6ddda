"""Refunds: never more than was captured, each once, and the provider's word for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace

from tests.conftest import RoomDatabase
from tests.integration.payment_fixtures import Order, Till, eventually, new_order, open_till, provider_and_database
from tradewind.services.payment.domain.charge import Repayment
from tradewind.services.payment.domain.work import RefundWork
from tradewind.services.payment.providers import Provider, RequestRefused

RACERS = 20
OLD_ID = "01890000-0000-7000-8000-000000000000"
"""Of something made in 2023: whoever does not know it by now never will."""


@pytest_asyncio.fixture
async def till(room_database: RoomDatabase, tmp_path: Path) -> AsyncIterator[Till]:
    async with provider_and_database(room_database, tmp_path) as (access, sandbox):
        async with open_till(access, sandbox) as till:
            yield till


async def test_part_by_part_until_nothing_is_left(till: Till) -> None:
    order = await till.pay()
    first = await till.refund(order, 500)
    assert first.status == 201
    assert first.json == {
        "id": first.json["id"],
        "status": "pending",
        "amount": {"amount_minor": 500, "currency": "EUR"},
    }
    seen = await till.until(order, "partially_refunded")
    assert [(each["status"], each["amount"]["amount_minor"]) for each in seen["refunds"]] == [("succeeded", 500)]
    too_much = await till.refund(order, 1500)
    assert (too_much.status, too_much.json["code"]) == (409, "refund-exceeds-captured")

    rest = await till.refund(order)
    assert rest.json["amount"]["amount_minor"] == 1499
    seen = await till.until(order, "refunded")
    assert seen["refunded"] == seen["captured"]
    assert (await till.refund(order)).status == 409

    assert await till.taken_minor(order) == 0
    assert await till.told(order) == ["captured", "refunded", "refunded"]
    assert await till.booked(order) == [("capture", 1999), ("refund", 500), ("refund", 1499)]
    await till.check_books()


async def test_of_many_full_refunds_at_once_one_wins(till: Till) -> None:
    order = await till.pay()
    answers = await asyncio.gather(*(till.refund(order) for _ in range(RACERS)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * (RACERS - 1)
    assert {answer.json["code"] for answer in answers if answer.status == 409} == {"refund-exceeds-captured"}
    await till.until(order, "refunded")
    assert await till.taken_minor(order) == 0
    await till.check_books()


async def test_many_partial_refunds_at_once_never_exceed_what_was_captured(till: Till) -> None:
    order = await till.pay()
    answers = await asyncio.gather(*(till.refund(order, 300) for _ in range(RACERS)))
    assert [answer.status for answer in answers].count(201) == 6

    async def settled() -> bool:
        return all(each["status"] == "succeeded" for each in (await till.see(order))["refunds"])

    await eventually(settled)
    seen = await till.see(order)
    assert (seen["status"], seen["refunded"]["amount_minor"]) == ("partially_refunded", 1800)
    assert await till.taken_minor(order) == 199
    assert await till.told(order) == ["captured"] + ["refunded"] * 6
    await till.check_books()


async def test_a_key_makes_one_refund(till: Till) -> None:
    order = await till.pay()
    first = await till.refund(order, 700, key="k")
    again = await till.refund(order, 700, key="k")
    assert (again.status, again.json) == (201, first.json)
    assert again.headers["idempotency-replayed"] == "true"
    other = await till.refund(order, 701, key="k")
    assert (other.status, other.json["code"]) == (422, "idempotency-key-reused")
    await till.until(order, "partially_refunded")
    assert len((await till.see(order))["refunds"]) == 1


async def asked_by(till: Till, order: Order) -> str | None:
    """Who asked for a refund, as its event tells."""
    sql = "SELECT convert_from(envelope, 'UTF8')::jsonb -> 'data' ->> 'requested_by' FROM outbox WHERE key = $1 ORDER BY id DESC"
    return str(found) if (found := await till.database.value(sql, order.payment_id)) else None


async def test_an_order_is_refunded_by_its_own_path(till: Till) -> None:
    order = await till.pay()
    answer = await till.post(f"/v1/orders/{order.id}/refunds", {"reason": "broken"}, by=till.finance)
    assert answer.status == 201
    await till.until(order, "refunded")
    assert await asked_by(till, order) == till.finance.subject
    unknown = await till.post(f"/v1/orders/{OLD_ID}/refunds", {"reason": "broken"}, by=till.finance)
    assert (unknown.status, unknown.json["code"]) == (404, "order-not-found")


async def test_who_may_and_what_is_refused(till: Till) -> None:
    order = await till.pay()
    path = f"/v1/payments/{order.payment_id}/refunds"
    owner = till.introduce(subject=order.customer_id)
    assert (await till.post(path, {"reason": "mine"}, by=owner)).status == 403
    assert (await till.ask("POST", path, {"reason": "x"}, by=till.support)).json["code"] == "idempotency-key-required"
    for amount, pointer in (
        ({"amount_minor": 0, "currency": "EUR"}, "/amount/amount_minor"),
        ({"amount_minor": -5, "currency": "EUR"}, "/amount/amount_minor"),
        ({"amount_minor": 5, "currency": "USD"}, "/amount/currency"),
        ({"amount_minor": 1.5, "currency": "EUR"}, "/amount/amount_minor"),
        ({"amount_minor": 10**15, "currency": "EUR"}, "/amount/amount_minor"),
    ):
        answer = await till.post(path, {"reason": "x", "amount": amount}, by=till.support)
        assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, pointer)
    assert (await till.post(path, {}, by=till.support)).status == 422
    assert (await till.post(f"/v1/payments/{OLD_ID}/refunds", {"reason": "x"}, by=till.support)).status == 404

    declined = new_order("pm_card_chargeDeclined")
    await till.place(declined)
    await till.until(declined, "failed")
    assert (await till.refund(declined)).json["code"] == "refund-exceeds-captured"


@pytest.mark.parametrize("path", ["/v1/orders/{0.id}/refunds", "/v1/payments/{0.payment_id}/refunds"])
async def test_an_order_that_is_not_heard_of_yet_is_refunded_under_the_same_key(till: Till, path: str) -> None:
    order = new_order()
    refund = path.format(order), {"reason": "changed my mind"}
    early = await till.post(*refund, by=till.support, key="k")
    assert (early.status, early.json["code"], early.headers["retry-after"]) == (503, "payment-pending", "1")
    await till.pay(order)
    again = await till.post(*refund, by=till.support, key="k")
    assert (again.status, again.headers.get("idempotency-replayed")) == (201, None)
    assert (await till.post(*refund, by=till.support, key="k")).headers["idempotency-replayed"] == "true"
    await till.until(order, "refunded")


async def test_word_that_comes_while_a_refund_is_asked_for_is_enough(till: Till) -> None:
    order = new_order()
    asked = asyncio.create_task(till.post(f"/v1/orders/{order.id}/refunds", {"reason": "x"}, by=till.support))
    await till.place(order)
    # It is known, and not captured yet, or captured by now: either is an answer.
    assert (await asked).status in (201, 409)


@pytest.mark.parametrize("id_", [OLD_ID, "0b0f1c3e-8a52-4c3b-9d0e-2f6d1f0c7a11"])
async def test_what_cannot_be_on_its_way_is_not_found_at_once(till: Till, id_: str) -> None:
    for path, code in (("orders", "order-not-found"), ("payments", "payment-not-found")):
        answer = await till.post(f"/v1/{path}/{id_}/refunds", {"reason": "x"}, by=till.support, key=path)
        assert (answer.status, answer.json["code"]) == (404, code)
        again = await till.post(f"/v1/{path}/{id_}/refunds", {"reason": "x"}, by=till.support, key=path)
        assert again.headers["idempotency-replayed"] == "true"


async def test_an_unknown_refund_is_settled_when_the_provider_is_back(till: Till) -> None:
    order = await till.pay()
    await till.weather(outage_s=3.0, outage_mode="silent")
    assert (await till.refund(order)).json["status"] == "pending"
    assert (await till.see(order))["status"] == "captured"
    await till.until(order, "refunded", timeout_s=60.0)
    assert await till.taken_minor(order) == 0
    assert await till.told(order) == ["captured", "refunded"]
    await till.check_books()


class Stubborn:
    """The real provider, except that it refuses the first `times` refunds."""

    def __init__(self, provider: Provider, times: int) -> None:
        self._provider = provider
        self.left = times

    def __getattr__(self, name: str) -> object:
        return getattr(self._provider, name)

    async def refund(self, work: RefundWork) -> Repayment:
        if self.left:
            self.left -= 1
            raise RequestRefused("refund_not_now")
        return await self._provider.refund(work)


async def test_a_refund_refused_for_good_may_be_asked_for_again(room_database: RoomDatabase, tmp_path: Path) -> None:
    async with provider_and_database(room_database, tmp_path) as (access, sandbox):
        async with open_till(access, sandbox, wrap=lambda provider: Stubborn(provider, 1)) as till:  # type: ignore[arg-type,return-value]
            order = await till.pay()
            await till.refund(order)

            async def failed() -> bool:
                return [each["status"] for each in (await till.see(order))["refunds"]] == ["failed"]

            await eventually(failed)
            assert await asked_by(till, order) == till.support.subject
            seen = await till.see(order)
            assert (seen["status"], seen["refunds"][0]["code"]) == ("captured", "refund_not_now")
            assert (await till.refund(order)).status == 201
            await till.until(order, "refunded")
            assert await till.told(order) == ["captured", "refund_failed", "refunded"]
            await till.check_books()


async def test_the_money_of_a_cancelled_order_goes_back_however_often_that_is_refused(
    room_database: RoomDatabase, tmp_path: Path
) -> None:
    async with provider_and_database(room_database, tmp_path) as (access, sandbox):
        async with open_till(access, sandbox, wrap=lambda provider: Stubborn(provider, 2)) as till:  # type: ignore[arg-type,return-value]
            order = await till.pay()
            await till.cancel(order)
            await till.until(order, "refunded")
            assert await till.taken_minor(order) == 0
            assert await till.told(order) == ["captured", "refunded"]
            assert await asked_by(till, order) is None
            await till.check_books()


class Generous:
    """The real provider, except that it gives back more than it is asked for."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def __getattr__(self, name: str) -> object:
        return getattr(self._provider, name)

    async def refund(self, work: RefundWork) -> Repayment:
        more = replace(work.amount, amount_minor=work.amount.amount_minor + 1)
        return await self._provider.refund(replace(work, amount=more))


async def test_a_repayment_of_another_amount_is_flagged_and_not_taken_for_ours(
    room_database: RoomDatabase, tmp_path: Path
) -> None:
    async with provider_and_database(room_database, tmp_path) as (access, sandbox):
        async with open_till(access, sandbox, wrap=Generous) as till:  # type: ignore[arg-type]
            order = await till.pay()
            refund = await till.refund(order, 500)

            async def flagged() -> dict[str, Any] | None:
                answer = await till.ask("GET", "/v1/payments/reconciliation", by=till.finance)
                found = [item for item in answer.json["items"] if item["kind"] == "mismatch"]
                return dict(found[0]) if found else None

            item = await eventually(flagged)
            assert (item["id"], item["ours"], item["theirs"]) == (refund.json["id"], "500 EUR", "501 EUR")
            assert item["resolved_at"] is None
            assert (await till.see(order))["status"] == "captured"
            assert await till.booked(order) == [("capture", 1999)]
