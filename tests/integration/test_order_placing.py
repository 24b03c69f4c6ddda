"""Placing orders through the HTTP door, on a real PostgreSQL: once per key, never more than there is, never a bad body."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.asgi import Response
from tests.integration.order_fixtures import ADDRESS, Neighbour, Shop, neighbour, order_body, shop
from tradewind.chassis.identity import Caller
from tradewind.chassis.ids import new_id

__all__ = ["neighbour", "shop"]


async def test_an_order_has_the_body_of_the_contract(shop: Shop) -> None:
    await shop.stock("mug", 10, price=1_250)
    await shop.stock("tea", 10, price=499)
    answer = await shop.try_order(("mug", 2), ("tea", 1), ("mug", 1))
    order = answer.json
    assert answer.status == 201
    assert answer.headers["location"] == f"/v1/orders/{order['id']}"
    assert answer.headers["etag"] == '"v1"'
    assert order["number"].startswith("TW-")
    assert order["lines"] == [
        {
            "sku": "mug", "name": "Mug", "quantity": 3,
            "unit_price": {"amount_minor": 1_250, "currency": "EUR"}, "total": {"amount_minor": 3_750, "currency": "EUR"},
        },
        {
            "sku": "tea", "name": "Tea", "quantity": 1,
            "unit_price": {"amount_minor": 499, "currency": "EUR"}, "total": {"amount_minor": 499, "currency": "EUR"},
        },
    ]  # fmt: skip
    assert (order["status"], order["total"], order["refunded"]) == (
        "pending", {"amount_minor": 4_249, "currency": "EUR"}, {"amount_minor": 0, "currency": "EUR"},
    )  # fmt: skip
    assert order["payment"].keys() == {"id", "status"}
    assert order["payment"]["status"] == "processing"
    assert order["shipping_address"] == ADDRESS
    assert order["created_at"] == order["updated_at"]
    assert await shop.see(order) == order
    assert (await shop.left("mug"), await shop.left("tea")) == (7, 9)
    assert await shop.story(order) == [("placed", "customer")]
    assert await shop.emitted(order) == [("order.placed.v1", 1)]
    await shop.check_books()


async def test_numbers_are_unique_and_grow(shop: Shop) -> None:
    await shop.stock("mug")
    numbers = [(await shop.order(("mug", 1)))["number"] for _ in range(3)]
    assert numbers == sorted(set(numbers))


async def test_twenty_at_once_with_one_key_are_one_order(shop: Shop) -> None:
    await shop.stock("mug", 50)
    key = new_id()
    answers = await asyncio.gather(*(shop.try_order(("mug", 1), key=key) for _ in range(20)))
    assert {answer.status for answer in answers} == {201}
    assert len({answer.body for answer in answers}) == 1
    assert len({answer.headers["location"] for answer in answers}) == 1
    assert sum(answer.headers.get("idempotency-replayed") == "true" for answer in answers) == 19
    assert await shop.left("mug") == 49
    assert await shop.database.value("SELECT count(*) FROM orders") == 1
    await shop.check_books()


async def test_a_key_is_for_one_body_and_one_customer(shop: Shop) -> None:
    await shop.stock("mug", 50)
    key = new_id()
    assert (await shop.try_order(("mug", 1), key=key)).status == 201
    reused = await shop.try_order(("mug", 2), key=key)
    assert (reused.status, reused.json["code"]) == (422, "idempotency-key-reused")
    other = await shop.try_order(("mug", 1), key=key, by=shop.introduce())
    assert (other.status, "idempotency-replayed" in other.headers) == (201, False)
    assert await shop.left("mug") == 48


async def test_a_refusal_is_replayed_as_well(shop: Shop) -> None:
    await shop.stock("mug", 1)
    key = new_id()
    first = await shop.try_order(("mug", 2), key=key)
    again = await shop.try_order(("mug", 2), key=key)
    assert (first.status, again.status, again.headers["idempotency-replayed"]) == (409, 409, "true")
    assert first.body == again.body


async def test_no_key_no_order(shop: Shop) -> None:
    await shop.stock("mug")
    answer = await shop.ask("POST", "/v1/orders", order_body(("mug", 1)), by=shop.customer)
    assert (answer.status, answer.json["code"]) == (400, "idempotency-key-required")


async def test_no_token_no_order(shop: Shop) -> None:
    assert (await shop.post("/v1/orders", order_body(("mug", 1)))).status == 401


async def insist(shop: Shop, buyer: Caller, *, key: str) -> Response:
    """Order a mug as a customer does who is told that too many want it right now: again, with the same key."""
    for _ in range(10):
        answer = await shop.try_order(("mug", 1), by=buyer, key=key)
        if answer.status != 503:
            break
    return answer


async def test_a_hundred_buyers_of_ten_pieces(shop: Shop) -> None:
    await shop.stock("mug", 10)
    buyers = [shop.introduce() for _ in range(100)]
    answers = await asyncio.gather(*(insist(shop, buyer, key=f"mug {n}") for n, buyer in enumerate(buyers)))
    assert sorted(answer.status for answer in answers) == [201] * 10 + [409] * 90
    refused = [answer.json for answer in answers if answer.status == 409]
    assert {problem["code"] for problem in refused} == {"out-of-stock"}
    assert refused[0]["errors"] == [
        {"pointer": "/lines/0", "code": "out-of-stock", "detail": "0 of mug left, 1 wanted."}
    ]
    assert await shop.left("mug") == 0
    await shop.check_books()


async def test_orders_for_the_same_goods_in_every_order_do_not_deadlock(shop: Shop) -> None:
    for sku in ("a", "b", "c"):
        await shop.stock(sku, 1_000)
    turns = [("a", "b", "c"), ("c", "b", "a"), ("b", "c", "a"), ("c", "a", "b")]
    answers = await asyncio.gather(
        *(shop.try_order(*((sku, 1) for sku in turns[n % 4]), by=shop.introduce()) for n in range(60))
    )
    assert {answer.status for answer in answers} == {201}
    await shop.check_books()


async def test_one_short_line_takes_nothing(shop: Shop) -> None:
    await shop.stock("mug", 10)
    await shop.stock("tea", 1)
    answer = await shop.try_order(("mug", 2), ("tea", 2))
    assert (answer.status, answer.json["code"]) == (409, "out-of-stock")
    assert answer.json["errors"] == [
        {"pointer": "/lines/1", "code": "out-of-stock", "detail": "1 of tea left, 2 wanted."}
    ]
    assert (await shop.left("mug"), await shop.left("tea")) == (10, 1)
    assert await shop.database.value("SELECT count(*) FROM orders") == 0
    assert await shop.database.value("SELECT count(*) FROM outbox") == 0
    await shop.check_books()


BAD_BODIES: list[tuple[dict[str, Any], str, str]] = [
    ({"lines": []}, "/lines", "range"),
    ({"lines": [{"sku": "mug", "quantity": 0}]}, "/lines/0/quantity", "range"),
    ({"lines": [{"sku": "mug", "quantity": -1}]}, "/lines/0/quantity", "range"),
    ({"lines": [{"sku": "mug", "quantity": 1_001}]}, "/lines/0/quantity", "range"),
    ({"lines": [{"sku": "mug", "quantity": 1.5}]}, "/lines/0/quantity", "type"),
    ({"lines": [{"sku": "mug", "quantity": "1"}]}, "/lines/0/quantity", "type"),
    ({"lines": [{"sku": "mug", "quantity": 2**70}]}, "/lines/0/quantity", "range"),
    ({"lines": [{"sku": "mug", "quantity": True}]}, "/lines/0/quantity", "type"),
    ({"lines": [{"sku": "mug\n", "quantity": 1}]}, "/lines/0/sku", "range"),
    ({"lines": [{"sku": "m\0g", "quantity": 1}]}, "/lines/0/sku", "range"),
    ({"lines": [{"sku": "hat", "quantity": 1}]}, "/lines/0/sku", "unknown-sku"),
    ({"lines": [{"sku": "mug"}]}, "/lines/0/quantity", "required"),
    ({"lines": [{"sku": "mug", "quantity": 1, "unit_price": 1}]}, "/lines/0/unit_price", "unknown-field"),
    ({"lines": [{"sku": "mug", "quantity": 1}] * 101}, "/lines", "range"),
    ({"lines": [{"sku": "mug", "quantity": 600}] * 2}, "/lines/1/quantity", "range"),
    ({"lines": [{"sku": "mug", "quantity": 1}, {"sku": "cap", "quantity": 1}]}, "/lines/1/sku", "currency-mismatch"),
    ({"total": {"amount_minor": 1, "currency": "EUR"}}, "/total", "unknown-field"),
    ({"payment_method": ""}, "/payment_method", "range"),
    ({"payment_method": None}, "/payment_method", "type"),
    ({"shipping_address": None}, "/shipping_address", "required"),
    ({"shipping_address_id": new_id()}, "/shipping_address", "required"),
    ({"shipping_address": None, "shipping_address_id": "1"}, "/shipping_address_id", "range"),
    ({"shipping_address": {**ADDRESS, "country": "Albion"}}, "/shipping_address/country", "range"),
    ({"shipping_address": {**ADDRESS, "city": "B\0th"}}, "/shipping_address/city", "nul"),
    ({"shipping_address": {**ADDRESS, "city": " "}}, "/shipping_address/city", "range"),
]


async def test_a_bad_body_is_422_at_its_place_and_changes_nothing(shop: Shop) -> None:
    await shop.stock("mug", 5_000)
    await shop.stock("cap", 5_000, currency="USD")
    for change, pointer, code in BAD_BODIES:
        answer = await shop.post("/v1/orders", {**order_body(("mug", 1)), **change}, by=shop.customer)
        assert answer.status == 422, (change, answer.json)
        found = [(error["pointer"], error["code"]) for error in answer.json["errors"]]
        assert found == [(pointer, code)], change
    assert await shop.database.value("SELECT count(*) FROM orders") == 0
    assert await shop.left("mug") == 5_000


async def test_what_is_no_json_is_400(shop: Shop) -> None:
    for body in (b"", b"{", b"\xff", b'{"payment_method": "\\ud800"}', b'{"payment_method": "\x00"}'):
        answer = await shop.ask("POST", "/v1/orders", body=body, by=shop.customer, idempotency_key=new_id())
        assert (answer.status, answer.json["code"]) == (400, "malformed-json"), body
    deep = await shop.ask("POST", "/v1/orders", body=b"[" * 100_000, by=shop.customer, idempotency_key=new_id())
    assert deep.status in {400, 422}


async def test_the_total_is_bounded(shop: Shop) -> None:
    await shop.stock("yacht", 5_000, price=10**9)
    await shop.stock("mug")
    answer = await shop.try_order(("yacht", 1_000), ("mug", 1))
    assert (answer.status, answer.json["code"]) == (422, "total-too-large")
    assert (await shop.try_order(("yacht", 1_000))).json["total"]["amount_minor"] == 10**12


async def test_an_address_of_the_customer_is_fetched_with_the_customers_token(shop: Shop, neighbour: Neighbour) -> None:
    await shop.stock("mug")
    address_id = new_id()
    kept = {**ADDRESS, "line2": "Left door", "id": address_id, "is_default": True, "region": None}
    neighbour.addresses[shop.customer.token, address_id] = kept
    body = order_body(("mug", 1), shipping_address=None, shipping_address_id=address_id)
    answer = await shop.post("/v1/orders", body, by=shop.customer)
    assert answer.status == 201, answer.json
    assert answer.json["shipping_address"] == {**ADDRESS, "line2": "Left door"}
    foreign = await shop.post("/v1/orders", body, by=shop.introduce())
    assert (foreign.status, foreign.json["code"]) == (422, "unknown-address")


async def test_a_stored_answer_needs_no_neighbour(shop: Shop, neighbour: Neighbour) -> None:
    await shop.stock("mug")
    address_id = new_id()
    neighbour.addresses[shop.customer.token, address_id] = {**ADDRESS, "id": address_id}
    body = order_body(("mug", 1), shipping_address=None, shipping_address_id=address_id)
    key = new_id()
    neighbour.away = True
    away = await shop.post("/v1/orders", body, by=shop.customer, key=key)
    assert (away.status, "retry-after" in away.headers) == (503, True)
    neighbour.away = False
    placed = await shop.post("/v1/orders", body, by=shop.customer, key=key)
    assert placed.status == 201
    neighbour.away = True
    away_again = await shop.post("/v1/orders", body, by=shop.customer, key=key)
    neighbour.addresses.clear()
    neighbour.away = False
    deleted = await shop.post("/v1/orders", body, by=shop.customer, key=key)
    for replay in (away_again, deleted):
        assert (replay.status, replay.headers["idempotency-replayed"], replay.body) == (201, "true", placed.body)


async def test_nothing_is_asked_of_the_neighbour_without_a_key(shop: Shop, neighbour: Neighbour) -> None:
    body = order_body(("mug", 1), shipping_address=None, shipping_address_id=new_id())
    assert (await shop.ask("POST", "/v1/orders", body, by=shop.customer)).status == 400
    assert neighbour.asked == 0
