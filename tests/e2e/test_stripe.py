"""The whole platform on Stripe: orders through the edge, webhooks through the edge, the audit with Stripe's list."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest_asyncio

from tests import stripe_stand_in
from tests.e2e.customers import administrator, bought, newcomer, product
from tests.e2e.platforms import audit, new_platform
from tests.stripe_stand_in.server import StripeStandIn, open_stand_in, sign
from tradewind.bench.platform import Platform
from tradewind.traffic.client import Shop, open_shop

WEBHOOKS = "/v1/payments/webhooks/stripe"


@pytest_asyncio.fixture
async def stand_in() -> AsyncIterator[StripeStandIn]:
    async with open_stand_in() as stand_in:
        yield stand_in


@pytest_asyncio.fixture
async def platform(stand_in: StripeStandIn, tmp_path: Path) -> AsyncIterator[Platform]:
    """One that pays by Stripe."""
    environ = {
        "PAYMENT_PROVIDER": "stripe",
        "PAYMENT_STRIPE_URL": stand_in.url,
        "PAYMENT_STRIPE_API_KEY": stripe_stand_in.API_KEY,
        "PAYMENT_STRIPE_WEBHOOK_SECRET": stripe_stand_in.WEBHOOK_SECRET,
        "PAYMENT_STRIPE_RETURN_URL": "https://shop.example.test/back",
    }
    platform = new_platform(tmp_path, environ)
    try:
        await asyncio.to_thread(platform.up)
        yield platform
    finally:
        await asyncio.to_thread(platform.down, "--volumes")


async def hear(platform: Platform, headers: Mapping[str, str], body: bytes) -> int:
    """A webhook comes in at the edge, as Stripe sends it."""
    sent = {"content-type": "application/json; charset=utf-8", **headers}
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{platform.url}{WEBHOOKS}", data=body, headers=sent) as answer:
            return answer.status


async def challenged(shop: Shop, stand_in: StripeStandIn, sku: str) -> Any:
    """An order whose customer met the bank's challenge, and told nobody."""
    shopper = await newcomer(shop)
    placed = await shop.place_order(shopper, [(sku, 1)], "pm_card_authenticationRequired")
    path = f"/v1/payments?order_id={placed['id']}"
    waiting = await shop.until(
        shopper.token, path, lambda body: any(item["status"] == "requires_action" for item in body["items"])
    )
    intent_id = waiting["items"][0]["next_action"]["url"].rpartition("/")[2]
    stand_in.books.authenticate(intent_id, approved=True)
    return await shop.settled(shopper.token, placed["id"])


async def test_orders_are_paid_through_stripe(platform: Platform, stand_in: StripeStandIn, shop: Shop) -> None:
    statuses: list[int] = []

    async def deliver(headers: Mapping[str, str], body: bytes) -> None:
        statuses.append(await hear(platform, headers, body))

    stand_in.deliver = deliver
    admin = await administrator(shop)
    sku = await product(shop, admin, amount_minor=1_450)
    shopper = await newcomer(shop)
    order = await bought(shop, shopper, sku)
    placed = await shop.place_order(shopper, [(sku, 1)], "pm_card_chargeDeclinedInsufficientFunds")
    declined = await shop.settled(shopper.token, placed["id"])
    assert (declined["status"], declined["payment"]["code"]) == ("cancelled", "insufficient_funds")
    assert (await challenged(shop, stand_in, sku))["status"] == "confirmed"
    await shop.refund(admin, order["id"], "it broke")
    await shop.until(admin, f"/v1/orders/{order['id']}", lambda body: body["status"] == "cancelled")
    assert set(statuses) == {200}
    body = b"{}"
    assert await hear(platform, {"stripe-signature": sign(body, "whsec_somebody_elses")}, body) == 400
    charges = stand_in.books.charges.values()
    assert sorted(each["amount_captured"] - each["amount_refunded"] for each in charges) == [0, 0, 1_450]
    await asyncio.to_thread(audit, platform)


@pytest_asyncio.fixture
async def shop(platform: Platform) -> AsyncIterator[Shop]:
    async with open_shop(platform.url) as shop:
        yield shop
