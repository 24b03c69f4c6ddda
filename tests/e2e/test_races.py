"""Many requests at the same moment, through the edge: one effect, ten pieces, one refund, one session."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import Any

from tests.e2e.customers import PASSWORD, bought, crowd, newcomer, order_body, product, refusal, short_id, stock_of
from tests.e2e.platforms import audit
from tests.e2e.provider import Provider
from tradewind.bench.platform import Platform
from tradewind.chassis.ids import new_id
from tradewind.traffic.client import Answer, Refused, Shop

AT_ONCE = 20


async def at_once(*attempts: Any) -> tuple[list[Answer], list[Refused]]:
    """Start all of them together; return what succeeded and what was refused."""
    answers = await asyncio.gather(*attempts, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, Refused):
            raise answer
    return [one for one in answers if isinstance(one, Answer)], [one for one in answers if isinstance(one, Refused)]


def codes(refused: list[Refused]) -> Counter[tuple[int, str]]:
    """How often each problem was answered."""
    return Counter((one.status, one.code) for one in refused)


async def test_one_key_makes_one_order(platform: Platform, shop: Shop, admin: str) -> None:
    ada = await newcomer(shop)
    sku = await product(shop, admin, stock=50)
    key = new_id()
    same = order_body(sku, 2)
    answers, refused = await at_once(
        *(shop.call("POST", "/v1/orders", token=ada.token, body=same, key=key) for _ in range(AT_ONCE))
    )
    assert refused == []
    assert {answer.status for answer in answers} == {201}
    assert all(answer.body == answers[0].body for answer in answers)
    assert {answer.headers["location"] for answer in answers} == {f"/v1/orders/{answers[0].body['id']}"}
    first = [answer for answer in answers if "idempotency-replayed" not in answer.headers]
    replayed = [answer for answer in answers if answer.headers.get("idempotency-replayed") == "true"]
    assert (len(first), len(replayed)) == (1, AT_ONCE - 1)
    assert len((await shop.call("GET", "/v1/orders", token=ada.token)).body["items"]) == 1
    await shop.settled(ada.token, answers[0].body["id"])
    assert await stock_of(shop, sku) == 48

    later = await shop.call("POST", "/v1/orders", token=ada.token, body=same, key=key)
    assert (later.status, later.body) == (201, answers[0].body), "the first answer, not the order as it is now"
    audit(platform)


async def test_a_key_belongs_to_one_request_of_one_customer(shop: Shop, admin: str) -> None:
    ada, grace = await newcomer(shop), await newcomer(shop, "Grace")
    sku = await product(shop, admin, stock=50)
    key = new_id()
    order = (await shop.call("POST", "/v1/orders", token=ada.token, body=order_body(sku), key=key)).body
    for path, body in (
        ("/v1/orders", order_body(sku, 2)),
        ("/v1/orders", order_body(sku, 1, "pm_card_chargeDeclined")),
        (f"/v1/orders/{order['id']}/cancel", None),
    ):
        reused = await refusal(shop.call("POST", path, token=ada.token, body=body, key=key))
        assert (reused.status, reused.code) == (422, "idempotency-key-reused"), path
    hers = await shop.call("POST", "/v1/orders", token=grace.token, body=order_body(sku), key=key)
    assert hers.body["id"] != order["id"]
    assert "idempotency-replayed" not in hers.headers
    assert len((await shop.call("GET", "/v1/orders", token=ada.token)).body["items"]) == 1
    assert (await shop.settled(ada.token, order["id"]))["status"] == "confirmed"


async def test_a_refusal_is_remembered_too(shop: Shop, admin: str) -> None:
    ada = await newcomer(shop)
    sku = await product(shop, admin, stock=1)
    key = new_id()
    short = await refusal(shop.call("POST", "/v1/orders", token=ada.token, body=order_body(sku, 2), key=key))
    assert (short.status, short.code) == (409, "out-of-stock")
    await shop.call("POST", f"/v1/products/{sku}/stock", token=admin, body={"delta": 5}, key=new_id())
    again = await refusal(shop.call("POST", "/v1/orders", token=ada.token, body=order_body(sku, 2), key=key))
    assert (again.status, again.code) == (409, "out-of-stock")
    await shop.call("POST", "/v1/orders", token=ada.token, body=order_body(sku, 2), key=new_id())


async def test_a_client_that_hangs_up_and_asks_again_gets_one_order(platform: Platform, shop: Shop, admin: str) -> None:
    ada = await newcomer(shop)
    sku = await product(shop, admin, stock=100)
    keys = [new_id() for _ in range(AT_ONCE)]

    async def order(key: str) -> Answer:
        return await shop.call("POST", "/v1/orders", token=ada.token, body=order_body(sku), key=key)

    async def hang_up(number: int, key: str) -> None:
        """From before the request has left to after it was answered."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(number * 0.002):
                await order(key)

    await asyncio.gather(*(hang_up(number, key) for number, key in enumerate(keys)))
    answers = await asyncio.gather(*(order(key) for key in keys))
    placed = {answer.body["id"] for answer in answers}
    assert len(placed) == AT_ONCE
    listed = (await shop.call("GET", "/v1/orders?limit=100", token=ada.token)).body["items"]
    assert {order["id"] for order in listed} == placed
    assert await stock_of(shop, sku) == 100 - AT_ONCE
    await asyncio.gather(*(shop.settled(ada.token, order_id) for order_id in placed))
    audit(platform)


async def test_a_hundred_buyers_of_ten_pieces(platform: Platform, shop: Shop, admin: str, provider: Provider) -> None:
    buyers = await crowd(shop, 100)
    sku = await product(shop, admin, stock=10)
    answers, refused = await at_once(
        *(shop.call("POST", "/v1/orders", token=buyer.token, body=order_body(sku), key=new_id()) for buyer in buyers)
    )
    assert codes(refused) == {(409, "out-of-stock"): 90}
    assert len(answers) == 10
    assert await stock_of(shop, sku) == 0
    orders = await asyncio.gather(*(shop.settled(admin, answer.body["id"]) for answer in answers))
    assert {order["status"] for order in orders} == {"confirmed"}
    assert [await provider.captured(order["id"]) for order in orders] == [[1_450]] * 10
    audit(platform)


async def test_goods_that_come_back_can_be_bought_while_others_try(shop: Shop, admin: str) -> None:
    buyers = await crowd(shop, 10)
    sku = await product(shop, admin, stock=1)

    async def insist(shopper: Any) -> str:
        """Try until an order is confirmed or the piece is sold; the cards of half of them are declined."""
        method = "pm_card_chargeDeclined" if buyers.index(shopper) % 2 else "pm_card_visa"
        while True:
            try:
                placed = await shop.place_order(shopper, [(sku, 1)], method)
            except Refused as refused:
                assert (refused.status, refused.code) == (409, "out-of-stock")
                if sold.is_set():
                    return "too late"
                continue
            order = await shop.settled(shopper.token, placed["id"])
            if method == "pm_card_chargeDeclined":
                assert order["status"] == "cancelled"
                return "declined"
            assert order["status"] == "confirmed"
            sold.set()
            return "confirmed"

    sold = asyncio.Event()
    ends = Counter(await asyncio.gather(*(insist(buyer) for buyer in buyers)))
    assert ends["confirmed"] == 1
    assert await stock_of(shop, sku) == 0


async def test_one_of_many_full_refunds_is_granted(
    platform: Platform, shop: Shop, admin: str, provider: Provider
) -> None:
    ada = await newcomer(shop)
    order = await bought(shop, ada, await product(shop, admin))
    doors = (f"/v1/orders/{order['id']}/refunds", f"/v1/payments/{order['payment']['id']}/refunds")
    answers, refused = await at_once(
        *(
            shop.call("POST", doors[number % 2], token=admin, body={"reason": "twice is too much"}, key=new_id())
            for number in range(AT_ONCE)
        )
    )
    assert codes(refused) == {(409, "refund-exceeds-captured"): AT_ONCE - 1}
    assert [answer.status for answer in answers] == [201]
    path = f"/v1/orders/{order['id']}"
    order = await shop.until(ada.token, path, lambda body: body["refunded"] == body["total"])
    charge = (await provider.charges(order["id"]))[0]
    assert len(await provider.refunds(charge["id"])) == 1
    audit(platform)


async def test_parts_refunded_at_once_never_exceed_the_whole(
    platform: Platform, shop: Shop, admin: str, provider: Provider
) -> None:
    ada = await newcomer(shop)
    order = await bought(shop, ada, await product(shop, admin, amount_minor=1_000))
    body = {"reason": "a part", "amount": {"amount_minor": 150, "currency": "EUR"}}
    path = f"/v1/orders/{order['id']}"
    answers, refused = await at_once(
        *(shop.call("POST", f"{path}/refunds", token=admin, body=body, key=new_id()) for _ in range(AT_ONCE))
    )
    assert len(answers) == 6
    assert codes(refused) == {(409, "refund-exceeds-captured"): AT_ONCE - 6}
    await shop.until(ada.token, path, lambda now: now["refunded"]["amount_minor"] == 900)
    charge = (await provider.charges(order["id"]))[0]
    assert [refund["amount_minor"] for refund in await provider.refunds(charge["id"])] == [150] * 6
    audit(platform)


async def test_a_cancellation_races_the_capture(platform: Platform, shop: Shop, admin: str, provider: Provider) -> None:
    buyers = await crowd(shop, 10)
    sku = await product(shop, admin, stock=10)
    placed = await asyncio.gather(*(shop.place_order(buyer, [(sku, 1)], "pm_card_visa") for buyer in buyers))
    answers, refused = await at_once(
        *(
            shop.call("POST", f"/v1/orders/{order['id']}/cancel", token=buyer.token, key=new_id())
            for buyer, order in zip(buyers, placed, strict=True)
        )
    )
    assert refused == []
    assert {answer.body["status"] for answer in answers} == {"cancelled"}
    ended = ("cancelled", "failed", "refunded")
    for buyer, order in zip(buyers, placed, strict=True):
        await shop.until(buyer.token, f"/v1/payments/{order['payment']['id']}", lambda body: body["status"] in ended)
        for charge in await provider.charges(order["id"]):
            assert charge["amount_captured_minor"] == charge["amount_refunded_minor"]
    assert await stock_of(shop, sku) == 10
    audit(platform)


async def test_one_address_registers_once(shop: Shop) -> None:
    body = {"email": f"ada-{short_id()}{short_id()}@example.test", "password": PASSWORD, "name": "Ada"}
    answers, refused = await at_once(*(shop.call("POST", "/v1/auth/register", body=body) for _ in range(8)))
    assert len(answers) == 1
    assert codes(refused) == {(409, "email-taken"): 7}


async def test_a_refresh_token_is_used_once(shop: Shop) -> None:
    email = f"ada-{short_id()}{short_id()}@example.test"
    body = {"email": email, "password": PASSWORD, "name": "Ada"}
    session = (await shop.call("POST", "/v1/auth/register", body=body)).body
    spent = {"refresh_token": session["refresh_token"]}
    answers, refused = await at_once(*(shop.call("POST", "/v1/auth/refresh", body=spent) for _ in range(AT_ONCE)))
    assert len(answers) == 1
    assert codes(refused) == {(401, "refresh-token-invalid"): AT_ONCE - 1}
    # Somebody else holds the same token: the session is over, for whoever got the new one too.
    new = {"refresh_token": answers[0].body["refresh_token"]}
    ended = await refusal(shop.call("POST", "/v1/auth/refresh", body=new))
    assert (ended.status, ended.code) == (401, "refresh-token-invalid")
    again = (await shop.call("POST", "/v1/auth/login", body={"email": email, "password": PASSWORD})).body
    sessions = (await shop.call("GET", "/v1/auth/sessions", token=again["access_token"])).body["items"]
    assert [one["id"] for one in sessions] == [again["session_id"]]
