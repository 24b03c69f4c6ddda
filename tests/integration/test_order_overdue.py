"""Orders that nothing moves: what the deadline job makes of them, what it shows, and whose clock it goes by."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from tests.conftest import RoomDatabase
from tests.integration.order_fixtures import (
    Neighbour,
    Shop,
    captured,
    neighbour,
    refunded,
    shop,
    spoken_of,
)
from tests.received import received
from tradewind.chassis.http import etag
from tradewind.contracts.payment import PaymentCancelled, PaymentRequiresAction
from tradewind.services.order.usecases import deadlines, ordering

__all__ = ["neighbour", "shop"]

SHIPMENT = {"carrier": "DHL", "tracking": "JD0001"}
MINUTE_S = 60
DAY_S = 86_400
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


async def timeline(shop: Shop, order: dict[str, Any], **query: Any) -> dict[str, Any]:
    answer = await shop.ask("GET", f"/v1/orders/{order['id']}/timeline", **{"by": shop.support} | query)
    assert answer.status == 200, answer.json
    return dict(answer.json)


async def stuck(shop: Shop) -> dict[str, float]:
    """orders_stuck as /metrics shows it."""
    await deadlines.count_stuck(shop.parts)
    gauge = shop.parts.measures._stuck
    return {sample.labels["deadline"]: sample.value for family in gauge.collect() for sample in family.samples}


async def test_an_order_shows_what_it_waits_for(shop: Shop) -> None:
    await shop.stock("mug")
    placed = await shop.order(("mug", 1))
    assert (placed["deadline"]["name"], placed["deadline"]["then"]) == ("payment", "cancelled")
    left = datetime.fromisoformat(placed["deadline"]["at"]) - datetime.fromisoformat(placed["created_at"])
    assert left == timedelta(minutes=15)
    assert (await timeline(shop, placed))["deadline"] == placed["deadline"]
    await shop.pay(placed)
    assert (await shop.see(placed))["deadline"]["name"] == "shipping"
    await shop.post(f"/v1/orders/{placed['id']}/ship", SHIPMENT, by=shop.support)
    assert (await timeline(shop, placed))["deadline"]["name"] == "delivery"
    await shop.post(f"/v1/orders/{placed['id']}/deliver", by=shop.support)
    assert (await timeline(shop, placed))["deadline"] is None
    assert "deadline" not in await shop.see(placed)


async def test_a_challenge_that_nobody_answers_ends_with_the_deadline_and_its_void_is_told(shop: Shop) -> None:
    await shop.stock("mug", 10)
    order = await shop.order(("mug", 2))
    await shop.hear(PaymentRequiresAction(**spoken_of(order), action_url="https://bank.example/3ds"))
    await shop.wait(15 * MINUTE_S + 1)
    assert await stuck(shop) == {"payment": 1, "shipping": 0, "delivery": 0, "settlement": 0}
    assert await deadlines.pass_deadlines(shop.parts) == 1
    assert (await timeline(shop, order))["deadline"]["name"] == "settlement"
    await shop.hear(PaymentCancelled(**spoken_of(order)))
    story = await timeline(shop, order)
    assert [(entry["event"], entry["cause"]) for entry in story["items"]] == [
        ("placed", "customer"), ("action_required", "payment.requires_action.v1"), ("cancelled", "deadline"),
        ("payment_cancelled", "payment.cancelled.v1"),
    ]  # fmt: skip
    assert story["items"][2]["detail"] == {
        "reason": "expired", "was": "pending", "deadline": "payment", "then": "cancelled",
    }  # fmt: skip
    assert story["deadline"] is None
    assert sum((await stuck(shop)).values()) == 0
    await shop.check_books()


async def test_a_late_success_is_told_and_its_way_back_has_a_deadline(shop: Shop) -> None:
    await shop.stock("mug", 10)
    order = await shop.order(("mug", 1))
    await shop.post(f"/v1/orders/{order['id']}/cancel", by=shop.customer)
    await shop.hear(PaymentCancelled(**spoken_of(order)), captured(order))
    assert (await shop.see(order))["deadline"]["name"] == "settlement"
    await shop.hear(refunded(order, 400, 400), refunded(order, 600, 1_000))
    assert await shop.story(order) == [
        ("placed", "customer"), ("cancelled", "customer"), ("payment_cancelled", "payment.cancelled.v1"),
        ("captured_too_late", "payment.captured.v1"), ("refunded", "payment.refunded.v1"),
        ("refunded", "payment.refunded.v1"),
    ]  # fmt: skip
    ended = await shop.see(order)
    assert ("deadline" in ended, ended["refunded"]["amount_minor"]) == (False, 1_000)
    await shop.check_books()


async def test_money_that_does_not_come_back_is_asked_for_until_it_does(shop: Shop) -> None:
    await shop.stock("mug", 10)
    order = await shop.order(("mug", 1))
    await shop.pay(order)
    await shop.post(f"/v1/orders/{order['id']}/cancel", by=shop.support)
    for asked in range(1, 4):
        await shop.wait(10 * MINUTE_S + 1 if asked < 3 else 20 * MINUTE_S + 1)
        assert await deadlines.pass_deadlines(shop.parts) == 1
        assert await deadlines.pass_deadlines(shop.parts) == 0
        assert [kind for kind, _ in await shop.emitted(order)].count("order.settlement_due.v1") == asked
        assert (await stuck(shop))["settlement"] == 1
    overdue = (await timeline(shop, order))["deadline"]
    assert (overdue["overdue"], overdue["then"]) == (True, "payment_asked_again")
    await shop.hear(refunded(order, 1_000, 1_000))
    assert (await stuck(shop))["settlement"] == 0
    await shop.wait(DAY_S)
    assert await deadlines.pass_deadlines(shop.parts) == 0
    assert (await shop.story(order))[-2:] == [("overdue", "deadline"), ("refunded", "payment.refunded.v1")]
    await shop.check_books()


@pytest.mark.parametrize(("deadline", "days"), [("shipping", 3), ("delivery", 14)])
async def test_what_waits_for_support_is_told_once_and_not_cancelled(shop: Shop, deadline: str, days: int) -> None:
    await shop.stock("mug", 10)
    order = await shop.order(("mug", 1))
    await shop.pay(order)
    if deadline == "delivery":
        await shop.post(f"/v1/orders/{order['id']}/ship", SHIPMENT, by=shop.support)
    before = await shop.see(order)
    await shop.wait(days * DAY_S + 1)
    assert await deadlines.pass_deadlines(shop.parts) == 1
    assert await deadlines.pass_deadlines(shop.parts) == 0
    after = await shop.see(order)
    assert (after["status"], after["deadline"]["overdue"]) == (before["status"], True)
    assert (await stuck(shop))[deadline] == 1
    assert (await timeline(shop, order))["items"][-1]["detail"] == {"deadline": deadline, "then": "support_told"}
    verb, body = ("ship", SHIPMENT) if deadline == "shipping" else ("deliver", None)
    assert (await shop.post(f"/v1/orders/{order['id']}/{verb}", body, by=shop.support)).status == 200
    assert (await stuck(shop))[deadline] == 0
    await shop.check_books()


async def test_an_instance_with_a_wrong_clock_expires_nothing_early_and_writes_no_wrong_time(
    shop: Shop, room_database: RoomDatabase, neighbour: Neighbour
) -> None:
    await shop.stock("mug", 10)
    order = await shop.order(("mug", 1))
    shop.clock.advance(3_600)
    assert await deadlines.pass_deadlines(shop.parts) == 0
    young = await shop.order(("mug", 1))
    for seen in (order, young):
        assert abs(datetime.fromisoformat(seen["created_at"]) - datetime.now(UTC)) < timedelta(minutes=1)
    await shop.pay(young)
    entries = (await timeline(shop, young))["items"]
    assert all(abs(datetime.fromisoformat(entry["at"]) - datetime.now(UTC)) < timedelta(minutes=1) for entry in entries)
    shop.clock.advance(-7_200)
    await shop.wait(15 * MINUTE_S + 1)
    assert await deadlines.pass_deadlines(shop.parts) == 1
    assert (await shop.see(order))["status"] == "cancelled"


async def test_the_story_says_who_what_and_where_from(shop: Shop) -> None:
    await shop.stock("mug", 10)
    order = await shop.order(("mug", 1))
    news = received(captured(order), subject=order["payment"]["id"])
    async with shop.database.transaction() as tx:
        traced = msgspec.structs.replace(news, traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
        await ordering.hear_payments(shop.parts, tx, [traced])
    await shop.post(f"/v1/orders/{order['id']}/ship", SHIPMENT, by=shop.support)
    await shop.hear(refunded(order, 1, 1, by=shop.support.subject), refunded(order, 1, 2, by="somebody's name"))
    placed, confirmed, shipped, *back = (await timeline(shop, order))["items"]
    assert (placed["by"], placed["detail"]) == (shop.customer.subject, {"amount": order["total"]})
    assert (confirmed["event_id"], confirmed["trace_id"]) == (news.id, TRACE)
    assert confirmed["detail"] == {"amount": order["total"]}
    assert "by" not in confirmed
    assert (shipped["by"], shipped["detail"]) == (shop.support.subject, SHIPMENT)
    assert [(entry["event"], entry.get("by")) for entry in back] == [
        ("refunded", shop.support.subject),
        ("refunded", None),
    ]
    assert placed["id"] < confirmed["id"] < shipped["id"]
    # A customer is told what support did, and not which of them.
    assert all("by" not in entry for entry in (await timeline(shop, order, by=shop.customer))["items"])
    assert (await shop.ask("GET", f"/v1/orders/{order['id']}", by=shop.support)).headers["etag"] == etag(5)
