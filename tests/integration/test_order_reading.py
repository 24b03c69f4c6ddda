"""Who sees which orders, and in what pages."""

from __future__ import annotations

from typing import Any

from tests.integration.order_fixtures import Shop, neighbour, shop
from tradewind.chassis.identity import Caller
from tradewind.chassis.ids import new_id

__all__ = ["neighbour", "shop"]


async def listed(shop: Shop, query: str = "", *, by: Caller) -> list[str]:
    """The ids of all pages."""
    found: list[str] = []
    cursor = ""
    while True:
        page: dict[str, Any] = (await shop.ask("GET", f"/v1/orders?{query}{cursor}", by=by)).json
        found += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


async def test_somebody_elses_order_does_not_exist(shop: Shop) -> None:
    await shop.stock("mug")
    order = await shop.order(("mug", 1))
    stranger = shop.introduce()
    for method, below in (("GET", ""), ("GET", "/timeline"), ("POST", "/cancel")):
        path = f"/v1/orders/{order['id']}{below}"
        assert (await shop.ask(method, path)).status == 401
        answer = await shop.ask(method, path, by=stranger, idempotency_key=new_id())
        assert (answer.status, answer.json["code"]) == (404, "order-not-found"), path
    assert (await shop.see(order))["status"] == "pending"
    for caller in (shop.customer, shop.support, shop.introduce("finance"), shop.admin):
        assert (await shop.ask("GET", f"/v1/orders/{order['id']}", by=caller)).status == 200
    finance = await shop.post(f"/v1/orders/{order['id']}/cancel", by=shop.introduce("finance"))
    assert finance.status == 404


async def test_what_is_no_id_is_404(shop: Shop) -> None:
    for order_id in (new_id(), "1", "TW-000001", "%00", new_id().upper(), f"{new_id()}%0A"):
        assert (await shop.ask("GET", f"/v1/orders/{order_id}", by=shop.support)).status == 404, order_id


async def test_the_newest_come_first_and_every_one_once(shop: Shop) -> None:
    await shop.stock("mug", 1_000)
    mine = [(await shop.order(("mug", 1)))["id"] for _ in range(7)]
    other = shop.introduce()
    theirs = [(await shop.order(("mug", 1), by=other))["id"] for _ in range(2)]
    assert await listed(shop, "limit=3", by=shop.customer) == mine[::-1]
    assert await listed(shop, by=other) == theirs[::-1]
    assert await listed(shop, by=shop.support) == []
    assert await listed(shop, f"customer_id={other.subject}", by=shop.support) == theirs[::-1]
    assert await listed(shop, f"limit=2&customer_id={shop.customer.subject}", by=shop.customer) == mine[::-1]
    assert await listed(shop, "limit=2&customer_id=all", by=shop.support) == (mine + theirs)[::-1]


async def test_lists_are_filtered_by_status(shop: Shop) -> None:
    await shop.stock("mug", 1_000)
    orders = [await shop.order(("mug", 1)) for _ in range(4)]
    await shop.pay(orders[1], orders[3])
    confirmed = [orders[3]["id"], orders[1]["id"]]
    assert await listed(shop, "limit=1&status=confirmed", by=shop.customer) == confirmed
    assert await listed(shop, "limit=1&status=confirmed&customer_id=all", by=shop.support) == confirmed
    assert await listed(shop, "status=shipped", by=shop.customer) == []


async def test_a_bad_list_request_is_refused(shop: Shop) -> None:
    for query in (
        "limit=0",
        "limit=101",
        "cursor=x",
        "cursor=WyJ4Il0",
        "cursor=WzFlMzBd",
        "status=lost",
        "customer_id=1",
        "customer_id=all%0A",
    ):
        assert (await shop.ask("GET", f"/v1/orders?{query}", by=shop.support)).status == 400, query
    for foreign in (new_id(), "all"):
        answer = await shop.ask("GET", f"/v1/orders?customer_id={foreign}", by=shop.customer)
        assert (answer.status, answer.json["code"]) == (403, "role-required")


async def test_the_story_has_times_causes_and_pages(shop: Shop) -> None:
    await shop.stock("mug")
    order = await shop.order(("mug", 1))
    await shop.pay(order)
    shipment = {"carrier": "DHL", "tracking": "JD0001"}
    await shop.post(f"/v1/orders/{order['id']}/ship", shipment, by=shop.support)
    path = f"/v1/orders/{order['id']}/timeline"
    whole = (await shop.ask("GET", path, by=shop.customer)).json
    assert whole["next_cursor"] is None
    assert [entry["event"] for entry in whole["items"]] == ["placed", "confirmed", "shipped"]
    assert whole["items"][2]["detail"] == shipment
    assert whole["items"][0]["at"] == order["created_at"]
    first = (await shop.ask("GET", f"{path}?limit=2", by=shop.customer)).json
    rest = (await shop.ask("GET", f"{path}?limit=2&cursor={first['next_cursor']}", by=shop.customer)).json
    assert first["items"] + rest["items"] == whole["items"]


async def test_refunds_are_another_rooms(shop: Shop) -> None:
    answer = await shop.ask("POST", f"/v1/orders/{new_id()}/refunds", by=shop.admin, idempotency_key=new_id())
    assert (answer.status, answer.json["code"]) == (404, "not-found")
