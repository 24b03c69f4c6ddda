"""Orders that nobody leads to a good end: each has a defined one, by its deadline, on the whole platform.

The deadlines are seconds here. What the provider does wrong is its script's; what is true at the end, the audit's.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from tests.e2e.customers import newcomer, order_body, product, stock_of
from tests.e2e.platforms import audit, running
from tests.e2e.provider import Provider
from tradewind.bench.platform import Platform
from tradewind.chassis.ids import new_id
from tradewind.traffic.client import Shop

STOCK = 20
SHORT = {
    "ORDER_PENDING_TTL_S": "4",
    "ORDER_SHIPPING_TTL_S": "5",
    "ORDER_DELIVERY_TTL_S": "5",
    "ORDER_SETTLEMENT_TTL_S": "2",
    "ORDER_EXPIRY_EVERY_S": "0.2",
}
PATIENCE_S = 40.0


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform that loses its patience soon."""
    with running(tmp_path_factory.mktemp("saga"), SHORT) as platform:
        yield platform


class Customer:
    """Somebody with one order, and what support sees of it."""

    def __init__(self, shop: Shop, admin: str, token: str, sku: str, order: Any) -> None:
        self._shop = shop
        self._admin = admin
        self._token = token
        self.sku = sku
        self.order = order
        self.path = f"/v1/orders/{order['id']}"

    async def command(self, verb: str, body: Any = None, *, by_support: bool = True) -> Any:
        token = self._admin if by_support else self._token
        return await self._shop.call("POST", f"{self.path}/{verb}", token=token, body=body, key=new_id())

    async def story(self) -> list[tuple[str, str]]:
        body = (await self._shop.call("GET", f"{self.path}/timeline", token=self._admin)).body
        return [(entry["event"], entry["cause"]) for entry in body["items"]]

    async def until(self, satisfied: Any) -> Any:
        return await self._shop.until(self._token, self.path, satisfied, timeout_s=PATIENCE_S)

    async def until_told(self, *events: str) -> list[tuple[str, str]]:
        """The story once all of `events` are in it."""
        async with asyncio.timeout(PATIENCE_S):
            while not set(events) <= set(dict(story := await self.story())):
                await asyncio.sleep(0.05)
            return story


async def orders(
    shop: Shop, admin: str, provider: Provider, *rules: dict[str, Any], method: str = "pm_card_visa"
) -> Customer:
    """A new customer's order, while the provider plays `rules`."""
    ada, sku = await newcomer(shop), await product(shop, admin, stock=STOCK)
    await provider.conditions(script={"rules": rules})
    placed = await shop.call("POST", "/v1/orders", token=ada.token, body=order_body(sku, 2, method), key=new_id())
    return Customer(shop, admin, ada.token, sku, placed.body)


async def stuck(platform: Platform) -> dict[str, float]:
    """orders_stuck by deadline."""
    port = platform.state.ports()["order-1"]["management_port"]
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        text = await answer.text()
    return {
        name: float(value)
        for name, value in re.findall(r'^orders_stuck\{deadline="(\w+)"\} (\S+)$', text, re.MULTILINE)
    }


async def test_a_challenge_that_nobody_answers(platform: Platform, shop: Shop, admin: str, provider: Provider) -> None:
    ada = await orders(shop, admin, provider, method="pm_card_authenticationRequired")
    story = await ada.until_told("payment_cancelled")
    assert story == [
        ("placed", "customer"), ("action_required", "payment.requires_action.v1"), ("cancelled", "deadline"),
        ("payment_cancelled", "payment.cancelled.v1"),
    ]  # fmt: skip
    (charge,) = await provider.charges(ada.order["id"])
    assert charge["status"] == "cancelled"
    assert await stock_of(shop, ada.sku) == STOCK
    await asyncio.to_thread(audit, platform)


async def test_a_charge_that_succeeds_after_the_order_has_expired(
    platform: Platform, shop: Shop, admin: str, provider: Provider
) -> None:
    ada = await orders(
        shop,
        admin,
        provider,
        {"on": "charge", "next": 1, "do": "slow", "wait_ms": 7_000},
        {"on": "charge", "next": 5, "do": "silent", "done": False},
    )
    story = [entry for entry in await ada.until_told("captured_too_late", "refunded") if entry[0] != "overdue"]
    assert [event for event, _ in story if event != "payment_cancelled"] == [
        "placed",
        "cancelled",
        "captured_too_late",
        "refunded",
    ]
    assert ("cancelled", "deadline") in story
    ended = await ada.until(lambda order: "deadline" not in order)
    assert (ended["status"], ended["refunded"]) == ("cancelled", ended["total"])
    assert await provider.captured(ada.order["id"]) == [ended["total"]["amount_minor"]]
    assert await stock_of(shop, ada.sku) == STOCK
    await asyncio.to_thread(audit, platform)


async def test_a_refund_that_does_not_come_is_asked_for_again(
    platform: Platform, shop: Shop, admin: str, provider: Provider
) -> None:
    ada = await orders(
        shop, admin, provider, {"on": "refund", "next": 2, "do": "pending", "wait_ms": 2_500, "then": "failed"}
    )
    await ada.until(lambda order: order["status"] == "confirmed")
    await ada.command("cancel", by_support=False)
    waiting = await ada.until(lambda order: order.get("deadline", {}).get("overdue"))
    assert waiting["deadline"]["then"] == "payment_asked_again"
    story = await ada.until_told("overdue", "refunded")
    assert [event for event, _ in story if event != "overdue"] == ["placed", "confirmed", "cancelled", "refunded"]
    ended = await ada.until(lambda order: "deadline" not in order)
    assert ended["refunded"] == ended["total"]
    (charge,) = await provider.charges(ada.order["id"])
    assert charge["amount_refunded_minor"] == ended["total"]["amount_minor"]
    await asyncio.to_thread(audit, platform)


async def test_what_support_forgets_is_told_and_stays(
    platform: Platform, shop: Shop, admin: str, provider: Provider
) -> None:
    ada = await orders(shop, admin, provider)
    await ada.until_told("confirmed", "overdue")
    assert (await stuck(platform))["shipping"] >= 1
    assert (await ada.until(lambda order: True))["status"] == "confirmed"
    await ada.command("ship", {"carrier": "DHL", "tracking": "1"})
    await ada.command("deliver")
    body = {"reason": "broken", "amount": {**ada.order["total"], "amount_minor": 100}}
    await ada.command("refunds", body)
    await ada.until(lambda order: order["refunded"]["amount_minor"] == 100)
    await ada.command("refunds", {"reason": "all of it"})
    ended = await ada.until(lambda order: order["refunded"] == order["total"])
    assert (ended["status"], ended["payment"]["status"]) == ("delivered", "refunded")
    assert [event for event, _ in await ada.story()] == [
        "placed", "confirmed", "overdue", "shipped", "delivered", "refunded", "refunded",
    ]  # fmt: skip
    await asyncio.to_thread(audit, platform)


async def test_parts_that_make_the_whole_cancel_what_was_not_shipped(
    platform: Platform, shop: Shop, admin: str, provider: Provider
) -> None:
    ada = await orders(
        shop, admin, provider, {"on": "refund", "next": 1, "do": "pending", "wait_ms": 300, "then": "failed"}
    )
    await ada.until(lambda order: order["status"] == "confirmed")
    total = ada.order["total"]["amount_minor"]
    await ada.command("refunds", {"reason": "first", "amount": {**ada.order["total"], "amount_minor": 100}})
    await ada.until_told("refund_failed")
    for part in (100, 200, total - 300):
        await ada.command("refunds", {"reason": "part", "amount": {**ada.order["total"], "amount_minor": part}})
    ended = await ada.until(lambda order: order["status"] == "cancelled")
    assert (ended["refunded"], "deadline" in ended) == (ended["total"], False)
    assert await stock_of(shop, ada.sku) == STOCK
    await asyncio.to_thread(audit, platform)
