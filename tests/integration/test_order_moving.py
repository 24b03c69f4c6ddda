"""Orders on their way: the payment's news, people's commands and the deadline, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from itertools import permutations

import pytest

from tests.conftest import RoomDatabase
from tests.integration.order_fixtures import (
    Neighbour,
    Shop,
    captured,
    failed,
    neighbour,
    refunded,
    shop,
    spoken_of,
)
from tests.received import received
from tradewind.chassis.errors import Invalid, NotFound
from tradewind.chassis.ids import new_id
from tradewind.contracts.payment import PaymentCancelled, PaymentRefundFailed, PaymentRequiresAction
from tradewind.services.order.usecases import deadlines, ordering

__all__ = ["neighbour", "shop"]

SHIPMENT = {"carrier": "DHL", "tracking": "JD0001"}


async def heaps(shop: Shop, sku: str) -> tuple[int, int, int]:
    row = await shop.database.row("SELECT available, reserved, sold FROM stock WHERE sku = $1", sku)
    assert row is not None
    return row["available"], row["reserved"], row["sold"]


async def test_from_placed_to_delivered(shop: Shop) -> None:
    await shop.stock("mug", 10)
    order = await shop.order(("mug", 2))
    assert await heaps(shop, "mug") == (8, 2, 0)
    await shop.pay(order)
    confirmed = await shop.see(order)
    assert (confirmed["status"], confirmed["payment"]["status"]) == ("confirmed", "captured")
    assert await heaps(shop, "mug") == (8, 0, 2)
    shipped = await shop.post(f"/v1/orders/{order['id']}/ship", SHIPMENT, by=shop.support)
    assert (shipped.status, shipped.json["status"], shipped.headers["etag"]) == (200, "shipped", '"v3"')
    delivered = await shop.post(f"/v1/orders/{order['id']}/deliver", by=shop.support)
    assert (delivered.status, delivered.json["status"]) == (200, "delivered")
    assert await heaps(shop, "mug") == (8, 0, 2)
    assert await shop.story(order) == [
        ("placed", "customer"), ("confirmed", "payment.captured.v1"), ("shipped", "support"), ("delivered", "support"),
    ]  # fmt: skip
    assert await shop.emitted(order) == [
        ("order.placed.v1", 1), ("order.confirmed.v1", 2), ("order.shipped.v1", 3), ("order.delivered.v1", 4),
    ]  # fmt: skip
    await shop.check_books()


async def test_a_declined_order_gives_its_goods_back_and_says_why(shop: Shop) -> None:
    await shop.stock("mug", 10)
    order = await shop.order(("mug", 2))
    await shop.hear(failed(order, "insufficient_funds"))
    seen = await shop.see(order)
    assert (seen["status"], seen["payment"]["status"], seen["payment"]["code"]) == (
        "cancelled", "failed", "insufficient_funds",
    )  # fmt: skip
    assert await heaps(shop, "mug") == (10, 0, 0)
    assert await shop.emitted(order) == [("order.placed.v1", 1), ("order.cancelled.v1", 2)]
    await shop.check_books()


async def test_the_customer_is_shown_where_to_go(shop: Shop) -> None:
    await shop.stock("mug")
    order = await shop.order(("mug", 1))
    await shop.hear(PaymentRequiresAction(**spoken_of(order), action_url="https://bank.example/3ds"))
    asked = await shop.see(order)
    assert (asked["status"], asked["payment"]["status"], asked["payment"]["next_action"]) == (
        "pending", "requires_action", {"url": "https://bank.example/3ds"},
    )  # fmt: skip
    await shop.pay(order)
    assert "next_action" not in (await shop.see(order))["payment"]
    await shop.check_books()


async def test_many_orders_are_confirmed_in_three_statements(shop: Shop) -> None:
    for sku in ("mug", "tea"):
        await shop.stock(sku, 1_000)
    orders = [await shop.order(("mug", 1), ("tea", n % 3 + 1)) for n in range(30)]
    said: list[str] = []
    async with shop.database.transaction() as tx:
        # The driver asks a connection for some types once.
        await ordering.hear_payments(shop.parts, tx, [received(captured(orders[0]))])
        tx._connection.add_query_logger(lambda record: said.append(record.query))
        await ordering.hear_payments(shop.parts, tx, [received(captured(order)) for order in reversed(orders[1:])])
    assert len([query for query in said if query != "COMMIT"]) == 3, said
    assert {(await shop.see(order))["status"] for order in orders} == {"confirmed"}
    assert await heaps(shop, "mug") == (970, 0, 30)
    await shop.check_books()


async def test_the_same_news_twice_take_effect_once(shop: Shop) -> None:
    await shop.stock("mug", 10)
    order = await shop.order(("mug", 1))
    await shop.pay(order, order)
    await shop.pay(order)
    await shop.hear(failed(order), captured(order))
    assert (await shop.see(order))["status"] == "confirmed"
    assert await heaps(shop, "mug") == (9, 0, 1)
    assert await shop.emitted(order) == [("order.placed.v1", 1), ("order.confirmed.v1", 2)]
    await shop.check_books()


async def test_every_order_of_arrival_has_a_defined_end(shop: Shop) -> None:
    await shop.stock("mug", 1_000)
    for news in permutations(range(3)):
        order = await shop.order(("mug", 1))
        events = [
            PaymentRequiresAction(**spoken_of(order), action_url="https://bank.example/3ds"),
            captured(order),
            refunded(order, 1_000, 1_000),
        ]
        for number in news:
            await shop.hear(events[number])
        seen = await shop.see(order)
        assert (seen["status"], seen["refunded"]["amount_minor"]) == ("cancelled", 1_000), news
        assert seen["payment"]["status"] == "refunded"
        assert (await shop.emitted(order))[-1][0] == "order.cancelled.v1"
    assert await heaps(shop, "mug") == (1_000, 0, 0)
    await shop.check_books()


async def test_failed_and_captured_the_first_word_counts(shop: Shop) -> None:
    await shop.stock("mug", 10)
    one, other = await shop.order(("mug", 1)), await shop.order(("mug", 1))
    await shop.hear(captured(one), failed(other))
    await shop.hear(failed(one), captured(other))
    assert [(await shop.see(each))["status"] for each in (one, other)] == ["confirmed", "cancelled"]
    assert await shop.story(other) == [
        ("placed", "customer"), ("cancelled", "payment.failed.v1"), ("captured_too_late", "payment.captured.v1"),
    ]  # fmt: skip
    await shop.hear(refunded(other, 1_000, 1_000))
    ended = await shop.see(other)
    assert (ended["status"], ended["refunded"]["amount_minor"], ended["payment"]["status"]) == (
        "cancelled", 1_000, "refunded",
    )  # fmt: skip
    assert await heaps(shop, "mug") == (9, 0, 1)
    await shop.check_books()


async def test_refunds_before_and_after_shipping(shop: Shop) -> None:
    await shop.stock("mug", 10)
    here, gone = await shop.order(("mug", 2)), await shop.order(("mug", 3))
    await shop.pay(here, gone)
    await shop.post(f"/v1/orders/{gone['id']}/ship", SHIPMENT, by=shop.support)
    await shop.hear(refunded(here, 500, 500), refunded(gone, 500, 500))
    partly = await shop.see(here)
    assert (partly["status"], partly["refunded"]["amount_minor"], partly["payment"]["status"]) == (
        "confirmed", 500, "partially_refunded",
    )  # fmt: skip
    await shop.hear(refunded(here, 1_500, 2_000), refunded(gone, 2_500, 3_000))
    assert [(await shop.see(each))["status"] for each in (here, gone)] == ["cancelled", "shipped"]
    assert await heaps(shop, "mug") == (7, 0, 3)
    assert await shop.emitted(here) == [("order.placed.v1", 1), ("order.confirmed.v1", 2), ("order.cancelled.v1", 3)]
    await shop.hear(
        PaymentRefundFailed(**spoken_of(gone), refund_id=new_id(), code="closed"),
        PaymentCancelled(**spoken_of(gone)),
    )
    assert (await shop.see(gone))["status"] == "shipped"
    await shop.check_books()


async def test_news_of_an_unknown_order_or_of_other_money_undo_their_batch(shop: Shop) -> None:
    await shop.stock("mug", 10)
    order, other = await shop.order(("mug", 1)), await shop.order(("mug", 1))
    with pytest.raises(NotFound):
        await shop.pay(order, {**other, "id": new_id()})
    with pytest.raises(Invalid):
        await shop.pay(order, {**other, "total": {"amount_minor": 1, "currency": "EUR"}})
    assert [(await shop.see(each))["status"] for each in (order, other)] == ["pending", "pending"]
    await shop.check_books()


async def test_customers_and_support_cancel_until_it_is_shipped(shop: Shop) -> None:
    await shop.stock("mug", 10)
    pending, confirmed, shipped = [await shop.order(("mug", 1)) for _ in range(3)]
    await shop.pay(confirmed, shipped)
    await shop.post(f"/v1/orders/{shipped['id']}/ship", SHIPMENT, by=shop.support)
    by_customer = await shop.post(f"/v1/orders/{pending['id']}/cancel", by=shop.customer)
    by_support = await shop.post(f"/v1/orders/{confirmed['id']}/cancel", by=shop.support)
    assert (by_customer.status, by_customer.json["status"]) == (200, "cancelled")
    assert (by_support.status, by_support.json["status"]) == (200, "cancelled")
    refused = await shop.post(f"/v1/orders/{shipped['id']}/cancel", by=shop.customer)
    assert (refused.status, refused.json["code"]) == (409, "illegal-transition")
    assert await shop.story(pending) == [("placed", "customer"), ("cancelled", "customer")]
    assert (await shop.story(confirmed))[-1] == ("cancelled", "support")
    assert await heaps(shop, "mug") == (9, 0, 1)
    await shop.check_books()


async def test_a_command_needs_a_key_and_is_done_once(shop: Shop) -> None:
    await shop.stock("mug", 10)
    order = await shop.order(("mug", 1))
    path = f"/v1/orders/{order['id']}/cancel"
    without = await shop.ask("POST", path, by=shop.customer)
    assert (without.status, without.json["code"]) == (400, "idempotency-key-required")
    key = new_id()
    answers = await asyncio.gather(*(shop.post(path, by=shop.customer, key=key) for _ in range(5)))
    assert {(answer.status, answer.body) for answer in answers} == {(200, answers[0].body)}
    assert (await shop.post(path, by=shop.customer)).status == 409
    assert await heaps(shop, "mug") == (10, 0, 0)


async def test_every_illegal_command_changes_nothing(shop: Shop) -> None:
    await shop.stock("mug", 100)
    pending, confirmed, shipped, delivered, cancelled = [await shop.order(("mug", 1)) for _ in range(5)]
    await shop.pay(confirmed, shipped, delivered)
    for order in (shipped, delivered):
        await shop.post(f"/v1/orders/{order['id']}/ship", SHIPMENT, by=shop.support)
    await shop.post(f"/v1/orders/{delivered['id']}/deliver", by=shop.support)
    await shop.post(f"/v1/orders/{cancelled['id']}/cancel", by=shop.support)
    illegal = {
        "cancel": [shipped, delivered, cancelled],
        "ship": [pending, shipped, delivered, cancelled],
        "deliver": [pending, confirmed, delivered, cancelled],
    }
    for verb, orders in illegal.items():
        for order in orders:
            before = await shop.see(order)
            body = SHIPMENT if verb == "ship" else None
            answer = await shop.post(f"/v1/orders/{order['id']}/{verb}", body, by=shop.support)
            assert (answer.status, answer.json["code"]) == (409, "illegal-transition"), (verb, before["status"])
            assert await shop.see(order) == before
    await shop.check_books()


async def test_shipping_is_for_support(shop: Shop) -> None:
    await shop.stock("mug")
    order = await shop.order(("mug", 1))
    await shop.pay(order)
    for caller, status in ((shop.customer, 403), (shop.introduce("finance"), 403), (shop.admin, 200)):
        assert (await shop.post(f"/v1/orders/{order['id']}/ship", SHIPMENT, by=caller)).status == status
    assert (await shop.post(f"/v1/orders/{new_id()}/ship", SHIPMENT, by=shop.support)).status == 404


async def test_cancelling_while_the_money_comes(shop: Shop) -> None:
    await shop.stock("mug", 100)
    orders = [await shop.order(("mug", 1)) for _ in range(20)]
    answers, _ = await asyncio.gather(
        asyncio.gather(*(shop.post(f"/v1/orders/{order['id']}/cancel", by=shop.customer) for order in orders)),
        asyncio.gather(*(shop.pay(order) for order in orders)),
    )
    assert {answer.status for answer in answers} == {200}
    for order in orders:
        story = await shop.story(order)
        assert story[-1][0] in {"cancelled", "captured_too_late"}
        assert (await shop.see(order))["status"] == "cancelled"
    assert await heaps(shop, "mug") == (100, 0, 0)
    await shop.check_books()


async def test_unpaid_orders_expire_at_their_deadline(shop: Shop) -> None:
    await shop.stock("mug", 100)
    orders = [await shop.order(("mug", 1)) for _ in range(7)]
    paid, unpaid = orders[0], orders[1:]
    await shop.pay(paid)
    await shop.wait(895)
    assert await deadlines.pass_deadlines(shop.parts) == 0
    await shop.wait(6)
    young = await shop.order(("mug", 1))
    assert await deadlines.pass_deadlines(shop.parts) == 6
    assert await deadlines.pass_deadlines(shop.parts) == 0
    assert {(await shop.see(order))["status"] for order in unpaid} == {"cancelled"}
    assert [(await shop.see(order))["status"] for order in (paid, young)] == ["confirmed", "pending"]
    assert await shop.story(unpaid[0]) == [("placed", "customer"), ("cancelled", "deadline")]
    await shop.check_books()


async def test_several_instances_expire_side_by_side(
    shop: Shop, room_database: RoomDatabase, neighbour: Neighbour
) -> None:
    await shop.stock("mug", 100)
    orders = [await shop.order(("mug", 1)) for _ in range(20)]
    await shop.wait(901)
    counts = await asyncio.gather(
        deadlines.pass_deadlines(shop.parts), deadlines.pass_deadlines(shop.parts), deadlines.pass_deadlines(shop.parts),
        shop.pay(*orders[:10]),
    )  # fmt: skip
    confirmed = [order for order in orders if (await shop.see(order))["status"] == "confirmed"]
    assert sum(count or 0 for count in counts) + len(confirmed) == 20
    assert await heaps(shop, "mug") == (100 - len(confirmed), 0, len(confirmed))
    await shop.check_books()
