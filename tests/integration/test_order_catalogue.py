"""Products and stock through the HTTP door, on a real PostgreSQL and a real Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from tests.conftest import RoomDatabase
from tests.integration.order_fixtures import Neighbour, Shop, neighbour, open_shop, shop
from tradewind.chassis.ids import new_id

__all__ = ["neighbour", "shop"]

EUR_10 = {"amount_minor": 1_000, "currency": "EUR"}
MUG = {"sku": "mug-blue", "name": "Mug", "description": "Blue.", "price": EUR_10, "stock": 3}


@pytest_asyncio.fixture
async def two_shops(room_database: RoomDatabase, neighbour: Neighbour, valkey_url: str) -> AsyncIterator[list[Shop]]:
    """Two instances on one database and one Valkey."""
    access = await room_database("order")
    async with (
        open_shop(access.url, neighbour.url, valkey_url=valkey_url) as one,
        open_shop(access.url, neighbour.url, valkey_url=valkey_url) as other,
    ):
        yield [one, other]


async def until_left(shop: Shop, sku: str, pieces: int) -> None:
    """The cache is told right after the commit, a moment after the answer may have left."""
    async with asyncio.timeout(2):
        while await shop.left(sku) != pieces:
            await asyncio.sleep(0.005)


async def test_a_product_is_added_once(shop: Shop) -> None:
    added = await shop.ask("POST", "/v1/products", MUG, by=shop.admin)
    assert (added.status, added.headers["location"], added.headers["etag"]) == (201, "/v1/products/mug-blue", '"v1"')
    assert {name: added.json[name] for name in MUG} == MUG
    assert added.json.keys() == {*MUG, "created_at", "updated_at"}
    again = await shop.ask("POST", "/v1/products", {**MUG, "stock": 50}, by=shop.admin)
    assert (again.status, again.json["code"]) == (409, "sku-taken")
    seen = await shop.ask("GET", "/v1/products/mug-blue")
    assert (seen.status, seen.body, seen.headers["etag"]) == (200, added.body, '"v1"')
    await shop.check_books()


async def test_only_administrators_change_the_catalogue(shop: Shop) -> None:
    await shop.stock("mug")
    for method, path, body in (
        ("POST", "/v1/products", MUG), ("PATCH", "/v1/products/mug", {"name": "x"}), ("POST", "/v1/products/mug/stock", {"delta": 1}),
    ):  # fmt: skip
        for caller, status in ((None, 401), (shop.customer, 403), (shop.support, 403)):
            answer = await shop.ask(method, path, body, by=caller, idempotency_key=new_id())
            assert answer.status == status, (method, path)


async def test_an_unknown_product_is_404(shop: Shop) -> None:
    for path in ("/v1/products/hat", "/v1/products/-hat", "/v1/products/h%00t", "/v1/products/hat%0A"):
        answer = await shop.ask("GET", path)
        assert answer.status == 404, path
    assert (await shop.ask("PATCH", "/v1/products/hat", {"name": "x"}, by=shop.admin)).status == 404
    assert (await shop.post("/v1/products/hat/stock", {"delta": 1}, by=shop.admin)).status == 404


async def test_bad_products_are_422(shop: Shop) -> None:
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({"sku": "-mug"}, "/sku", "range"),
        ({"sku": "m" * 65}, "/sku", "range"),
        ({"sku": "mug\n"}, "/sku", "range"),
        ({"name": ""}, "/name", "range"),
        ({"name": "a\0b"}, "/name", "nul"),
        ({"price": {"amount_minor": 0, "currency": "EUR"}}, "/price/amount_minor", "range"),
        ({"price": {"amount_minor": -1, "currency": "EUR"}}, "/price/amount_minor", "range"),
        ({"price": {"amount_minor": 9.99, "currency": "EUR"}}, "/price/amount_minor", "type"),
        ({"price": {"amount_minor": 999, "currency": "euro"}}, "/price/currency", "range"),
        ({"price": {"amount_minor": 999, "currency": "EUR\n"}}, "/price/currency", "range"),
        ({"price": {"amount_minor": 999, "currency": "ABC"}}, "/price/currency", "currency"),
        ({"price": {"amount_minor": 10**9 + 1, "currency": "EUR"}}, "/price/amount_minor", "range"),
        ({"price": 9.99}, "/price", "type"),
        ({"stock": -1}, "/stock", "range"),
        ({"stock": 1.5}, "/stock", "type"),
        ({"reserved": 1}, "/reserved", "unknown-field"),
    ]
    for change, pointer, code in wrong:
        answer = await shop.ask("POST", "/v1/products", {**MUG, **change}, by=shop.admin)
        assert answer.status == 422, change
        assert [(error["pointer"], error["code"]) for error in answer.json["errors"]] == [(pointer, code)], change
    assert (await shop.ask("GET", "/v1/products")).json == {"items": [], "next_cursor": None}


async def test_a_change_needs_the_version_it_was_made_for(shop: Shop) -> None:
    await shop.ask("POST", "/v1/products", MUG, by=shop.admin)
    path = "/v1/products/mug-blue"
    changed = await shop.ask("PATCH", path, {"price": {**EUR_10, "amount_minor": 900}}, by=shop.admin, if_match='"v1"')
    assert (changed.status, changed.headers["etag"], changed.json["price"]["amount_minor"]) == (200, '"v2"', 900)
    assert (changed.json["name"], changed.json["description"]) == ("Mug", "Blue.")
    late = await shop.ask("PATCH", path, {"name": "Cup"}, by=shop.admin, if_match='"v1"')
    assert (late.status, late.json["code"]) == (412, "version-mismatch")
    assert (await shop.ask("PATCH", path, {"description": ""}, by=shop.admin)).json["description"] == ""
    assert (await shop.ask("PATCH", path, {"stock": 9}, by=shop.admin)).status == 422
    assert (await shop.ask("PATCH", path, {"name": None}, by=shop.admin)).status == 422


async def test_sales_do_not_stand_in_the_way_of_a_new_price(shop: Shop) -> None:
    await shop.stock("mug")
    order = await shop.order(("mug", 1))
    answer = await shop.ask(
        "PATCH", "/v1/products/mug", {"price": {**EUR_10, "amount_minor": 1}}, by=shop.admin, if_match='"v1"'
    )
    assert answer.status == 200
    assert (await shop.see(order))["total"] == EUR_10
    assert (await shop.order(("mug", 1)))["total"]["amount_minor"] == 1


async def test_goods_come_and_go(shop: Shop) -> None:
    await shop.stock("mug", 3)
    key = new_id()
    for _ in range(2):
        answer = await shop.post("/v1/products/mug/stock", {"delta": 5}, by=shop.admin, key=key)
        assert (answer.status, answer.json["stock"]) == (200, 8)
    await shop.order(("mug", 2))
    refused = await shop.post("/v1/products/mug/stock", {"delta": -7}, by=shop.admin)
    assert (refused.status, refused.json["code"]) == (409, "stock-negative")
    assert (await shop.post("/v1/products/mug/stock", {"delta": -6}, by=shop.admin)).json["stock"] == 0
    assert (await shop.post("/v1/products/mug/stock", {"delta": 0}, by=shop.admin)).status == 422
    without = await shop.ask("POST", "/v1/products/mug/stock", {"delta": 1}, by=shop.admin)
    assert (without.status, without.json["code"]) == (400, "idempotency-key-required")
    await shop.check_books()


async def test_pages_show_every_product_once(shop: Shop) -> None:
    for number in range(7):
        await shop.stock(f"p{number}")
    seen: list[str] = []
    target = "/v1/products?limit=3"
    while True:
        page = (await shop.ask("GET", target)).json
        seen += [item["sku"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        target = f"/v1/products?limit=3&cursor={page['next_cursor']}"
    assert seen == [f"p{number}" for number in range(7)]
    for query in ("limit=0", "limit=101", "limit=x", "cursor=x", "cursor=WzFd"):
        assert (await shop.ask("GET", f"/v1/products?{query}")).status == 400, query


async def test_the_cache_follows_every_change(two_shops: list[Shop]) -> None:
    one, other = two_shops
    await one.stock("mug", 10)
    assert [await each.left("mug") for each in two_shops] == [10, 10]
    order = await one.order(("mug", 4))
    await until_left(other, "mug", 6)
    await one.post(f"/v1/orders/{order['id']}/cancel", by=one.customer)
    await until_left(other, "mug", 10)
    await other.post("/v1/products/mug/stock", {"delta": 5}, by=other.admin)
    await until_left(one, "mug", 15)
    await other.ask("PATCH", "/v1/products/mug", {"name": "Cup"}, by=other.admin)
    async with asyncio.timeout(2):
        while (await one.ask("GET", "/v1/products/mug")).json["name"] != "Cup":
            await asyncio.sleep(0.005)


async def test_the_books_cannot_be_rewritten_nor_overdrawn(shop: Shop) -> None:
    await shop.stock("mug", 3)
    for statement in (
        "UPDATE stock_movement SET quantity = 4",
        "DELETE FROM stock_movement",
        "DELETE FROM order_timeline",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await shop.database.execute(statement)
    for heap in ("available", "reserved", "sold"):
        with pytest.raises(asyncpg.CheckViolationError):
            await shop.database.execute(f"UPDATE stock SET {heap} = -1")
