"""The demonstration: a small shop opens, and customers register, order, pay, are declined, and get their money back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import msgspec

from tradewind.chassis.ids import new_id
from tradewind.traffic.client import Refused, Shop, Shopper

Say = Callable[[str], None]

CURRENCY = "EUR"
STOCK = 1_000
CATALOGUE = (
    ("mug-blue", "Blue mug", 1_450),
    ("tea-assam", "Assam tea, 250 g", 1_190),
    ("kettle", "Copper kettle", 6_900),
    ("map-1788", "Trade wind chart of 1788, print", 2_400),
    ("compass", "Brass compass", 4_250),
)


ADDED = {"orders": 4, "confirmed": 3, "cancelled": 3, "gross": 10_740, "refunded": 6_650}
"""What one story adds to the analytics' summary of its currency; money in minor units."""


class Told(msgspec.Struct, frozen=True):
    """What the story did: order ids by how they ended."""

    confirmed: str
    declined: str
    refunded: str
    cancelled: str


async def tell(shop: Shop, admin: str, say: Say) -> Told:
    """Play the story through the public API; `say` gets a line for each step.

    Raises:
        Refused: the platform refused a step that the story expects to succeed.
        TimeoutError: an order did not settle.
    """
    before = await _summary(shop, admin)
    await _open_catalogue(shop, admin, say)
    ada = await _newcomer(shop, "Ada", say)
    confirmed = await _pays(shop, ada, say)
    declined = await _is_declined(shop, ada, say)
    grace = await _newcomer(shop, "Grace", say)
    refunded = await _gets_money_back(shop, grace, admin, say)
    cancelled = await _changes_mind(shop, grace, say)
    await _is_told(shop, ada, say)
    await _figures(shop, admin, before, say)
    return Told(confirmed, declined, refunded, cancelled)


async def _open_catalogue(shop: Shop, admin: str, say: Say) -> None:
    for sku, name, amount_minor in CATALOGUE:
        with contextlib.suppress(Refused):  # it is there from an earlier demonstration
            await shop.create_product(admin, sku, name, amount_minor, STOCK)
    say(f"catalogue   {len(CATALOGUE)} products, from {CATALOGUE[0][1]} to {CATALOGUE[-1][1]}")


async def _newcomer(shop: Shop, name: str, say: Say) -> Shopper:
    email = f"{name.lower()}-{new_id()[-8:]}@example.test"
    shopper = await shop.register(email, f"correct horse {new_id()[-6:]}", name)
    say(f"register    {name} as {email}")
    return shopper


async def _pays(shop: Shop, shopper: Shopper, say: Say) -> str:
    placed = await shop.place_order(shopper, [("mug-blue", 2), ("tea-assam", 1)], "pm_card_visa")
    order = await shop.settled(shopper.token, placed["id"])
    _expect(order["status"] == "confirmed", order)
    say(f"order       {order['number']}, {_money(order['total'])}: paid and {order['status']}")
    return str(order["id"])


async def _is_declined(shop: Shop, shopper: Shopper, say: Say) -> str:
    placed = await shop.place_order(shopper, [("kettle", 1)], "pm_card_chargeDeclinedInsufficientFunds")
    order = await shop.settled(shopper.token, placed["id"])
    _expect(order["status"] == "cancelled", order)
    say(f"decline     {order['number']}, {_money(order['total'])}: {order['payment']['code']}, {order['status']}")
    return str(order["id"])


async def _gets_money_back(shop: Shop, shopper: Shopper, admin: str, say: Say) -> str:
    placed = await shop.place_order(shopper, [("compass", 1)], "pm_card_visa")
    order = await shop.settled(shopper.token, placed["id"])
    await shop.refund(admin, order["id"], "requested_by_customer")
    path = f"/v1/orders/{order['id']}"
    order = await shop.until(shopper.token, path, lambda body: body["refunded"] == body["total"])
    order = await shop.until(shopper.token, path, lambda body: body["status"] == "cancelled")
    say(f"refund      {order['number']}, {_money(order['refunded'])} went back, {order['status']}")
    return str(order["id"])


async def _changes_mind(shop: Shop, shopper: Shopper, say: Say) -> str:
    placed = await shop.place_order(shopper, [("map-1788", 1)], "pm_card_visa")
    order = await shop.settled(shopper.token, placed["id"])
    await shop.call("POST", f"/v1/orders/{order['id']}/cancel", token=shopper.token, body={}, key=new_id())
    path = f"/v1/orders/{order['id']}"
    order = await shop.until(shopper.token, path, lambda body: body["refunded"] == body["total"])
    say(f"cancel      {order['number']} by the customer: {_money(order['refunded'])} went back by itself")
    return str(order["id"])


async def _is_told(shop: Shop, shopper: Shopper, say: Say) -> None:
    told = await shop.until(shopper.token, "/v1/notifications", lambda body: len(body["items"]) >= 3)
    for item in reversed(told["items"]):
        say(f"told        {item['title']}")


async def _summary(shop: Shop, admin: str) -> dict[str, int]:
    return _counted((await shop.call("GET", "/v1/analytics/summary", token=admin)).body)


async def _figures(shop: Shop, admin: str, before: dict[str, int], say: Say) -> None:
    """The analytics, once they have counted all of the story: they follow the events, and those may be on their way."""

    def all_of_it(body: Any) -> bool:
        now = _counted(body)
        return all(now[name] >= before[name] + added for name, added in ADDED.items())

    body = await shop.until(admin, "/v1/analytics/summary", all_of_it)
    for row in body["items"]:
        gross, net = ({"currency": row["currency"], "amount_minor": row[name]} for name in ("gross", "net"))
        say(f"analytics   {row['orders']} orders, gross {_money(gross)}, net {_money(net)}")


def _counted(body: Any) -> dict[str, int]:
    row: dict[str, Any] = next((row for row in body["items"] if row["currency"] == CURRENCY), {})
    return {name: int(row.get(name, 0)) for name in ADDED}


def _money(money: dict[str, object]) -> str:
    minor = int(str(money["amount_minor"]))
    return f"{money['currency']} {minor // 100}.{minor % 100:02d}"


def _expect(holds: bool, order: object) -> None:
    if not holds:
        raise AssertionError(f"the story went another way: {order}")
