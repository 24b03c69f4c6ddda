"""Who visits the shop in these tests, and what is on its shelves. All of it through the public door."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.e2e.platforms import ADMIN_EMAIL, ADMIN_PASSWORD
from tradewind.chassis.ids import new_id
from tradewind.traffic.client import ADDRESS, Refused, Shop, Shopper

PASSWORD = "a sailor went to sea, sea, sea"
REGISTERING_AT_ONCE = 8


def short_id() -> str:
    """Six characters that no other test has drawn."""
    return new_id()[-6:]


async def administrator(shop: Shop) -> str:
    """An administrator's access token, by logging in."""
    answer = await shop.call("POST", "/v1/auth/login", body={"email": ADMIN_EMAIL, "password": ADMIN_PASSWORD})
    return str(answer.body["access_token"])


async def newcomer(shop: Shop, name: str = "Ada") -> Shopper:
    """A customer who registered a moment ago."""
    return await shop.register(f"{name.lower()}-{short_id()}{short_id()}@example.test", PASSWORD, name)


async def crowd(shop: Shop, count: int) -> list[Shopper]:
    """`count` customers. A few register at a time: hashing a password is meant to be slow."""
    gate = asyncio.Semaphore(REGISTERING_AT_ONCE)

    async def one(number: int) -> Shopper:
        async with gate:
            return await newcomer(shop, f"Buyer{number}")

    return list(await asyncio.gather(*(one(number) for number in range(count))))


async def product(
    shop: Shop, admin: str, *, stock: int = 1_000, amount_minor: int = 1_450, currency: str = "EUR"
) -> str:
    """A new product; return its SKU."""
    sku = f"e2e-{short_id()}{short_id()}"
    price = {"amount_minor": amount_minor, "currency": currency}
    await shop.call(
        "POST", "/v1/products", token=admin, body={"sku": sku, "name": f"Article {sku}", "price": price, "stock": stock}
    )
    return sku


async def stock_of(shop: Shop, sku: str) -> int:
    """How many pieces can be ordered now."""
    return int((await shop.call("GET", f"/v1/products/{sku}")).body["stock"])


def order_body(sku: str, quantity: int = 1, payment_method: str = "pm_card_visa") -> dict[str, Any]:
    """The body of an order of one product."""
    return {
        "lines": [{"sku": sku, "quantity": quantity}],
        "payment_method": payment_method,
        "shipping_address": ADDRESS,
    }


async def bought(shop: Shop, shopper: Shopper, sku: str, quantity: int = 1) -> Any:
    """An order that is confirmed: its money was captured."""
    placed = await shop.place_order(shopper, [(sku, quantity)], "pm_card_visa")
    order = await shop.settled(shopper.token, placed["id"])
    assert order["status"] == "confirmed", order
    return order


async def refusal(attempt: Any) -> Refused:
    """The problem that `attempt` is answered with; AssertionError where it succeeds."""
    try:
        answer = await attempt
    except Refused as refused:
        return refused
    raise AssertionError(f"it was not refused: {answer}")
