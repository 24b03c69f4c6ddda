"""The story the platform exists for: register, order, pay, be told, get money back; each sum equal wherever it is kept."""

from __future__ import annotations

import json
import re
from typing import Any

import aiohttp
import pytest

from tests.e2e.customers import PASSWORD, bought, newcomer, order_body, product, refusal, short_id, stock_of
from tests.e2e.platforms import audit
from tests.e2e.provider import Provider
from tradewind.bench.platform import Platform
from tradewind.chassis.ids import new_id
from tradewind.traffic.client import Shop

# Each test pays in a currency of its own, so that it knows every cent of that currency's row in the analytics.
PRICE_MINOR = 1_450


async def figures(shop: Shop, admin: str, currency: str, **expected: int) -> None:
    """Wait until the analytics' row of `currency` has `expected`."""

    def told(body: Any) -> bool:
        row: dict[str, Any] = next((row for row in body["items"] if row["currency"] == currency), {})
        return all(row.get(name) == value for name, value in expected.items())

    await shop.until(admin, "/v1/analytics/summary", told)


async def ledger_minor(shop: Shop, admin: str, currency: str) -> int:
    """What the ledger says the provider holds for us in `currency`; its trial balance must balance."""
    balances = (await shop.call("GET", "/v1/ledger/trial-balance", token=admin)).body["items"]
    of_currency = next(row for row in balances if row["currency"] == currency)
    assert of_currency["balanced"]
    assert of_currency["debit_minor"] == of_currency["credit_minor"]
    accounts = (await shop.call("GET", "/v1/ledger/accounts", token=admin)).body["items"]
    held = next(row for row in accounts if row["code"] == "psp_clearing")
    return int(next(row["balance_minor"] for row in held["balances"] if row["currency"] == currency))


def letters(platform: Platform, email: str) -> list[dict[str, Any]]:
    """The mail that was sent to `email`, by `tradewind mail ls`."""
    listed = [json.loads(line) for line in platform.command("mail", "ls", "--format", "json").splitlines()]
    return [letter for letter in listed if email in letter["to"]]


async def titles(shop: Shop, token: str, *wanted: str) -> None:
    """Wait until the app has told everything in `wanted`, each once."""

    def told(body: Any) -> bool:
        found = [item["title"] for item in body["items"]]
        assert all(found.count(title) <= 1 for title in wanted), f"told twice: {found}"
        return set(wanted) <= set(found)

    await shop.until(token, "/v1/notifications", told)


async def test_who_registers_is_there_at_once(shop: Shop) -> None:
    email = f"ada-{short_id()}@example.test"
    answer = await shop.call("POST", "/v1/auth/register", body={"email": email, "password": PASSWORD, "name": "Ada"})
    assert answer.status == 201
    body = answer.body
    assert body.keys() >= {"access_token", "refresh_token", "token_type", "expires_in", "session_id", "user"}
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 600)
    assert body["user"] == {"id": body["user"]["id"], "email": email, "name": "Ada", "roles": ["customer"]}
    me = (await shop.call("GET", "/v1/users/me", token=body["access_token"])).body
    assert (me["id"], me["email"]) == (body["user"]["id"], email)
    again = await refusal(
        shop.call("POST", "/v1/auth/register", body={"email": email.upper(), "password": PASSWORD, "name": "Eve"})
    )
    assert (again.status, again.code) == (409, "email-taken")


async def test_an_order_is_paid_told_and_counted(
    platform: Platform, shop: Shop, admin: str, provider: Provider
) -> None:
    ada = await newcomer(shop)
    sku = await product(shop, admin, amount_minor=PRICE_MINOR, currency="CHF", stock=10)
    answer = await shop.call("POST", "/v1/orders", token=ada.token, body=order_body(sku, 2), key=new_id())
    placed = answer.body
    assert (answer.status, answer.headers["location"]) == (201, f"/v1/orders/{placed['id']}")
    assert placed["status"] in ("pending", "confirmed")
    assert placed["total"] == {"amount_minor": 2 * PRICE_MINOR, "currency": "CHF"}
    assert placed["lines"][0]["unit_price"]["amount_minor"] == PRICE_MINOR

    order = await shop.settled(ada.token, placed["id"])
    assert order["status"] == "confirmed"
    assert order["payment"]["status"] == "captured"
    assert order["refunded"]["amount_minor"] == 0
    assert await stock_of(shop, sku) == 8
    assert await provider.captured(order["id"]) == [2 * PRICE_MINOR]
    payments = (await shop.call("GET", f"/v1/payments?order_id={order['id']}", token=ada.token)).body["items"]
    assert [(payment["id"], payment["captured"]) for payment in payments] == [(order["payment"]["id"], order["total"])]

    story = (await shop.call("GET", f"/v1/orders/{order['id']}/timeline", token=ada.token)).body["items"]
    assert [(entry["event"], entry["cause"]) for entry in story] == [
        ("placed", "customer"),
        ("confirmed", "payment.captured.v1"),
    ]

    await titles(shop, ada.token, "Welcome", f"Order {order['number']} is confirmed")
    audit(platform)
    letter = next(one for one in letters(platform, ada.email) if order["number"] in one["subject"])
    shown = platform.command("mail", "show", letter["file"])
    assert order["number"] in shown
    assert letter["message_id"] in shown
    assert "29.00" in shown

    await figures(shop, admin, "CHF", orders=1, confirmed=1, gross=2 * PRICE_MINOR, net=2 * PRICE_MINOR, customers=1)
    assert await ledger_minor(shop, admin, "CHF") == 2 * PRICE_MINOR


async def test_money_goes_back_in_parts_until_nothing_is_left(
    platform: Platform, shop: Shop, admin: str, provider: Provider
) -> None:
    grace = await newcomer(shop, "Grace")
    sku = await product(shop, admin, amount_minor=1_000, currency="SEK", stock=5)
    order = await bought(shop, grace, sku, 3)
    first = await shop.refund(admin, order["id"], "a cup was cracked", {"amount_minor": 900, "currency": "SEK"})
    assert first["status"] in ("pending", "succeeded")
    assert first["amount"] == {"amount_minor": 900, "currency": "SEK"}
    path = f"/v1/orders/{order['id']}"
    order = await shop.until(grace.token, path, lambda body: body["refunded"]["amount_minor"] == 900)
    assert (order["status"], order["payment"]["status"]) == ("confirmed", "partially_refunded")
    assert await stock_of(shop, sku) == 2

    too_much = await refusal(shop.refund(admin, order["id"], "more", {"amount_minor": 2_101, "currency": "SEK"}))
    assert (too_much.status, too_much.code) == (409, "refund-exceeds-captured")
    await shop.refund(admin, order["id"], "all of it, then")
    order = await shop.until(grace.token, path, lambda body: body["status"] == "cancelled")
    assert order["refunded"] == order["total"]
    assert order["payment"]["status"] == "refunded"
    assert await stock_of(shop, sku) == 5
    charge = (await provider.charges(order["id"]))[0]
    assert (charge["amount_captured_minor"], charge["amount_refunded_minor"]) == (3_000, 3_000)
    assert sorted(refund["amount_minor"] for refund in await provider.refunds(charge["id"])) == [900, 2_100]
    await figures(shop, admin, "SEK", orders=1, gross=3_000, refunded=3_000, net=0)
    assert await ledger_minor(shop, admin, "SEK") == 0
    await titles(shop, grace.token, f"Order {order['number']} is cancelled")
    audit(platform)


@pytest.mark.parametrize(
    ("method", "code"),
    [("pm_card_chargeDeclined", "card_declined"), ("pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds")],
)
async def test_a_decline_ends_the_order_and_gives_the_goods_back(
    shop: Shop, admin: str, provider: Provider, method: str, code: str
) -> None:
    ada = await newcomer(shop)
    sku = await product(shop, admin, stock=1)
    placed = await shop.place_order(ada, [(sku, 1)], method)
    order = await shop.settled(ada.token, placed["id"])
    assert order["status"] == "cancelled"
    assert (order["payment"]["status"], order["payment"]["code"]) == ("failed", code)
    assert await stock_of(shop, sku) == 1
    assert await provider.captured(order["id"]) == []
    await titles(shop, ada.token, f"Order {order['number']} is cancelled")


@pytest.mark.parametrize(("decision", "status"), [("approve", "confirmed"), ("decline", "cancelled")])
async def test_the_bank_asks_the_customer_first(
    shop: Shop, admin: str, provider: Provider, decision: str, status: str
) -> None:
    ada = await newcomer(shop)
    sku = await product(shop, admin, stock=1)
    placed = await shop.place_order(ada, [(sku, 1)], "pm_card_authenticationRequired")
    path = f"/v1/orders/{placed['id']}"
    order = await shop.until(ada.token, path, lambda body: "next_action" in body["payment"])
    assert (order["status"], order["payment"]["status"]) == ("pending", "requires_action")
    assert await provider.captured(order["id"]) == []
    async with aiohttp.ClientSession() as browser:
        url = order["payment"]["next_action"]["url"]
        async with browser.get(url) as page:
            assert re.search(r"<form method=.post.>", await page.text())
        async with browser.post(url, data={"decision": decision}) as page:
            assert page.status == 200
    payment = order["payment"]["id"]
    await shop.call("POST", f"/v1/payments/{payment}/confirm", token=ada.token, key=new_id())
    order = await shop.settled(ada.token, placed["id"])
    assert order["status"] == status
    assert await provider.captured(order["id"]) == ([PRICE_MINOR] if decision == "approve" else [])
    assert await stock_of(shop, sku) == (0 if decision == "approve" else 1)


async def test_a_customer_who_changes_her_mind_in_time_pays_nothing(
    platform: Platform, shop: Shop, admin: str, provider: Provider
) -> None:
    ada = await newcomer(shop)
    sku = await product(shop, admin, stock=2)
    waiting = await shop.place_order(ada, [(sku, 1)], "pm_card_authenticationRequired")
    paid = await bought(shop, ada, sku)
    for order in (waiting, paid):
        await shop.call("POST", f"/v1/orders/{order['id']}/cancel", token=ada.token, key=new_id())
    stays = await shop.settled(ada.token, waiting["id"])
    assert (stays["status"], stays["refunded"]["amount_minor"]) == ("cancelled", 0)
    path = f"/v1/orders/{paid['id']}"
    back = await shop.until(ada.token, path, lambda body: body["refunded"] == body["total"])
    assert back["status"] == "cancelled"
    assert await stock_of(shop, sku) == 2
    await shop.until(
        ada.token, f"/v1/payments/{waiting['payment']['id']}", lambda body: body["status"] in ("cancelled", "failed")
    )
    assert await provider.captured(waiting["id"]) == []
    charge = (await provider.charges(paid["id"]))[0]
    assert charge["amount_refunded_minor"] == charge["amount_captured_minor"] == PRICE_MINOR
    again = await refusal(shop.call("POST", f"/v1/orders/{paid['id']}/cancel", token=ada.token, key=new_id()))
    assert (again.status, again.code) == (409, "illegal-transition")
    audit(platform)


async def test_after_shipping_only_money_comes_back(platform: Platform, shop: Shop, admin: str) -> None:
    ada = await newcomer(shop)
    sku = await product(shop, admin, stock=1)
    order = await bought(shop, ada, sku)
    path = f"/v1/orders/{order['id']}"
    early = await refusal(shop.call("POST", f"{path}/deliver", token=admin, key=new_id()))
    assert (early.status, early.code) == (409, "illegal-transition")
    shipment = {"carrier": "Cutty Sark", "tracking": "CS-1869"}
    await shop.call("POST", f"{path}/ship", token=admin, body=shipment, key=new_id())
    late = await refusal(shop.call("POST", f"{path}/cancel", token=ada.token, key=new_id()))
    assert (late.status, late.code) == (409, "illegal-transition")
    await shop.call("POST", f"{path}/deliver", token=admin, key=new_id())
    await shop.refund(admin, order["id"], "it arrived wet")
    order = await shop.until(ada.token, path, lambda body: body["refunded"] == body["total"])
    assert order["status"] == "delivered"
    assert await stock_of(shop, sku) == 0
    story = (await shop.call("GET", f"{path}/timeline", token=ada.token)).body["items"]
    assert [entry["event"] for entry in story] == ["placed", "confirmed", "shipped", "delivered", "refunded"]
    audit(platform)


async def test_what_belongs_to_somebody_else_is_not_there(shop: Shop, admin: str) -> None:
    ada, eve = await newcomer(shop), await newcomer(shop, "Eve")
    order = await bought(shop, ada, await product(shop, admin))
    for path in (
        f"/v1/orders/{order['id']}", f"/v1/orders/{order['id']}/timeline", f"/v1/payments/{order['payment']['id']}",
    ):  # fmt: skip
        assert (await refusal(shop.call("GET", path, token=eve.token))).status == 404, path
    for path in (f"/v1/orders/{order['id']}/cancel", f"/v1/payments/{order['payment']['id']}/confirm"):
        assert (await refusal(shop.call("POST", path, token=eve.token, key=new_id()))).status == 404, path
    assert (await shop.call("GET", f"/v1/payments?order_id={order['id']}", token=eve.token)).body["items"] == []
    refused = await refusal(shop.refund(ada.token, order["id"], "please"))
    assert (refused.status, refused.code) == (403, "role-required")
    assert (await shop.order(ada.token, order["id"]))["status"] == "confirmed"


def test_the_demonstration(platform: Platform) -> None:
    figures: list[tuple[str, ...]] = []
    for _ in range(2):  # the second one finds its catalogue there
        said = platform.command("demo")
        for word in ("catalogue", "register", "order", "decline", "refund", "cancel", "told", "analytics"):
            assert re.search(rf"^{word} ", said, re.MULTILINE), f"{word} is missing:\n{said}"
        figures += re.findall(r"^analytics +(\d+) orders, gross EUR ([\d.]+), net EUR ([\d.]+)$", said, re.MULTILINE)
    first, second = ([float(figure) for figure in row] for row in figures)
    grown = [round(after - before, 2) for before, after in zip(first, second, strict=True)]
    assert grown == [4, 107.40, 40.90], "the figures were told before the story was counted"
    audit(platform)
