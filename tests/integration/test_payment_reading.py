"""Who sees which payments."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.conftest import RoomDatabase
from tests.integration.payment_fixtures import MODES, Till, new_order, open_till, provider_and_database
from tradewind.chassis.ids import new_id


@pytest_asyncio.fixture
async def till(room_database: RoomDatabase, tmp_path: Path) -> AsyncIterator[Till]:
    async with provider_and_database(room_database, tmp_path) as (access, sandbox):
        async with open_till(access, sandbox) as till:
            yield till


async def test_customers_see_their_own(till: Till) -> None:
    customer, stranger = till.introduce(), till.introduce()
    orders = [await till.pay(new_order(customer_id=customer.subject)) for _ in range(3)]
    path = f"/v1/payments/{orders[0].payment_id}"
    shown = await till.ask("GET", path, by=customer)
    assert (shown.status, shown.json["id"]) == (200, orders[0].payment_id)
    assert shown.headers["etag"].startswith('"')
    hidden = await till.ask("GET", path, by=stranger)
    assert (hidden.status, hidden.json["code"]) == (404, "payment-not-found")
    for clerk in (till.support, till.finance, till.introduce("admin")):
        assert (await till.ask("GET", path, by=clerk)).status == 200
    assert (await till.ask("GET", path)).status == 401
    assert (await till.ask("GET", f"/v1/payments/{new_id()}", by=till.support)).status == 404
    assert (await till.ask("GET", "/v1/payments/nonsense", by=till.support)).status == 404


async def test_the_payment_of_an_order(till: Till) -> None:
    customer = till.introduce()
    order = await till.pay(new_order(customer_id=customer.subject))
    path = f"/v1/payments?order_id={order.id}"
    for caller in (customer, till.support, till.finance):
        answer = await till.ask("GET", path, by=caller)
        assert [each["order_id"] for each in answer.json["items"]] == [order.id]
        assert answer.json["next_cursor"] is None
    assert (await till.ask("GET", path, by=till.introduce())).json["items"] == []
    assert (await till.ask("GET", f"/v1/payments?order_id={new_id()}", by=till.support)).json["items"] == []
    assert (await till.ask("GET", "/v1/payments?order_id=x", by=till.support)).status == 400


async def test_the_list_is_ones_own_newest_first_and_paged(till: Till) -> None:
    customer = till.introduce("support")
    orders = [await till.pay(new_order(customer_id=customer.subject)) for _ in range(5)]
    await till.pay()
    found: list[str] = []
    path = "/v1/payments?limit=2"
    while True:
        page = (await till.ask("GET", path, by=customer)).json
        found += [each["id"] for each in page["items"]]
        if page["next_cursor"] is None:
            break
        path = f"/v1/payments?limit=2&cursor={page['next_cursor']}"
    assert found == sorted((order.payment_id for order in orders), reverse=True)


async def test_an_entity_tag_changes_with_the_payment(till: Till) -> None:
    order = await till.pay()
    path = f"/v1/payments/{order.payment_id}"
    before = (await till.ask("GET", path, by=till.support)).headers["etag"]
    assert (await till.ask("GET", path, by=till.support)).headers["etag"] == before
    await till.refund(order, 1)
    assert (await till.ask("GET", path, by=till.support)).headers["etag"] != before


@pytest.mark.parametrize("capture", MODES)
async def test_a_payment_shows_its_attempts(room_database: RoomDatabase, tmp_path: Path, capture: str) -> None:
    async with provider_and_database(room_database, tmp_path) as (access, sandbox):
        async with open_till(access, sandbox, capture=capture) as till:
            (attempt,) = (await till.see(await till.pay()))["attempts"]
            assert (attempt["status"], attempt["provider"], attempt.get("code")) == ("succeeded", "sandbox", None)
            assert set(attempt) == {"id", "status", "provider", "created_at"}

            declined, waiting = new_order("pm_card_chargeDeclined"), new_order("pm_card_authenticationRequired")
            await till.place(declined, waiting)
            await till.until(declined, "failed")
            (attempt,) = (await till.see(declined))["attempts"]
            assert (attempt["status"], attempt["code"]) == ("failed", "card_declined")
            await till.until(waiting, "requires_action")
            assert [each["status"] for each in (await till.see(waiting))["attempts"]] == ["requires_action"]
            await till.cancel(waiting)
            await till.until(waiting, "cancelled")
            assert [each["status"] for each in (await till.see(waiting))["attempts"]] == ["cancelled"]

            unheard = new_order()
            await till.cancel(unheard)
            assert (await till.see(unheard))["attempts"] == []
