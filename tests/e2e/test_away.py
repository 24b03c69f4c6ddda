"""A room that is not there: what needs it says so, what does not goes on, and what it missed it hears afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.e2e.customers import PASSWORD, administrator, bought, crowd, newcomer, product, refusal
from tests.e2e.platforms import audit, kill, running, until, until_ready
from tradewind.bench.platform import Platform
from tradewind.bench.trouble import bus_refused
from tradewind.traffic.client import Shop, open_shop


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform of its own: its rooms come and go."""
    with running(tmp_path_factory.mktemp("away")) as platform:
        yield platform


@contextlib.asynccontextmanager
async def away(platform: Platform, *rooms: str) -> AsyncIterator[None]:
    """No instance of these rooms while the block runs."""
    for room in rooms:
        await asyncio.to_thread(platform.command, "scale", f"{room}=0")
    try:
        yield
    finally:
        for room in rooms:
            await asyncio.to_thread(platform.command, "scale", f"{room}=1")


def works_without(platform: Platform, name: str) -> list[str]:
    """What a process that is ready says it goes without, as `tradewind ps` shows it."""
    rows = json.loads(platform.command("ps", "--format", "json"))["processes"]
    (row,) = (row for row in rows if row["name"] == name)
    assert row["ready"]
    return list(row["degraded"])


async def test_what_a_room_missed_it_hears_afterwards(platform: Platform, shop: Shop, admin: str) -> None:
    buyers = await crowd(shop, 5)
    sku = await product(shop, admin, amount_minor=700, currency="NOK")
    async with away(platform, "analytics", "notification"):
        orders = [await bought(shop, buyer, sku) for buyer in buyers]
        await shop.refund(admin, orders[0]["id"], "while nobody counts")
        path = f"/v1/orders/{orders[0]['id']}"
        await shop.until(admin, path, lambda body: body["status"] == "cancelled")
    await asyncio.to_thread(audit, platform)

    def counted(body: Any) -> bool:
        row: dict[str, Any] = next((row for row in body["items"] if row["currency"] == "NOK"), {})
        return (row.get("orders"), row.get("gross"), row.get("refunded"), row.get("net")) == (5, 3_500, 700, 2_800)

    await shop.until(admin, "/v1/analytics/summary", counted)
    for buyer, order in zip(buyers, orders, strict=True):
        title = f"Order {order['number']} is confirmed"
        told = await shop.until(
            buyer.token,
            "/v1/notifications",
            lambda body, title=title: any(one["title"] == title for one in body["items"]),
        )
        assert [one["title"] for one in told["items"]].count(title) == 1

        def sent(email: str = buyer.email, number: str = order["number"]) -> bool:
            listed = platform.command("mail", "ls").splitlines()
            return sum(email in line and f"{number} is confirmed" in line for line in listed) == 1

        await asyncio.to_thread(until, sent, f"the letter to {buyer.email}")


async def test_without_the_bus_orders_are_taken_and_settle_once_it_is_back(
    platform: Platform, shop: Shop, admin: str
) -> None:
    buyers = await crowd(shop, 5)
    sku = await product(shop, admin)
    async with bus_refused(platform.admin_url):
        placed = [
            (buyer, await shop.place_order(buyer, [(sku, 1)], "pm_card_visa")) for _ in range(4) for buyer in buyers
        ]
        await asyncio.to_thread(until, lambda: works_without(platform, "order-1") == ["bus"], "word of the bus")
        # Their events are in the outbox, and nowhere else.
        for buyer, order in placed:
            assert (await shop.order(buyer.token, order["id"]))["status"] == "pending"
    for buyer, order in placed:
        assert (await shop.settled(buyer.token, order["id"]))["status"] == "confirmed"
    await asyncio.to_thread(audit, platform)


async def test_a_room_that_is_away_is_said_to_be(platform: Platform, shop: Shop, admin: str) -> None:
    ada = await newcomer(shop)
    order = await bought(shop, ada, await product(shop, admin))
    listed = (await shop.call("GET", "/openapi.json")).body["paths"]
    async with away(platform, "order"):
        for path in ("/v1/products", "/v1/orders", f"/v1/orders/{order['id']}"):
            refused = await refusal(shop.call("GET", path, token=ada.token))
            assert (refused.status, refused.code) == (503, "upstream-unavailable"), path
            assert refused.problem["request_id"]
        for path in ("/v1/users/me", "/v1/payments", "/v1/notifications", "/v1/auth/sessions"):
            assert (await shop.call("GET", path, token=ada.token)).status == 200, path
        assert (await shop.call("GET", "/openapi.json")).body["paths"] == listed
        # The provider's books and ours go on without it: the refund is not lost, the order hears of it later.
        await shop.refund(admin, order["id"], "nobody is there to be told")
    async with open_shop(platform.url) as again:
        order = await again.until(ada.token, f"/v1/orders/{order['id']}", lambda body: body["status"] == "cancelled")
    assert order["refunded"] == order["total"]
    await asyncio.to_thread(audit, platform)


async def test_tokens_outlive_whoever_gave_them_out(platform: Platform, shop: Shop, admin: str) -> None:
    """With auth-service away, and the proxy and the control plane new: the keys are those last known."""
    ada = await newcomer(shop)
    sku = await product(shop, admin)
    async with away(platform, "auth"):
        for name in ("gateway-1", "envoy"):
            died = await asyncio.to_thread(kill, platform, name)
            await asyncio.to_thread(until_ready, platform, name, other_than=died)
        async with open_shop(platform.url) as later:
            assert (await later.call("GET", "/v1/users/me", token=ada.token)).body["id"] == ada.id
            await bought(later, ada, sku)
            forged = await refusal(later.call("GET", "/v1/users/me", token=ada.token[:-8]))
            assert forged.status == 401
            refused = await refusal(
                later.call("POST", "/v1/auth/login", body={"email": ada.email, "password": PASSWORD})
            )
            assert refused.status == 503
    async with open_shop(platform.url) as later:
        await administrator(later)
