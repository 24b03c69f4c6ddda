"""Restarts, more instances and fewer, and the death of one of two, under traffic that is never tried again by its sender."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator

import aiohttp
import pytest

from tests.e2e.customers import crowd, newcomer, order_body, product
from tests.e2e.followers import Follower
from tests.e2e.platforms import audit, rows, running, until, until_ready
from tests.e2e.traffic import OpenLoop, Visitors
from tradewind.bench.platform import Platform
from tradewind.chassis.ids import new_id
from tradewind.traffic.client import Shop

ROOMS = ("auth", "user", "order", "payment", "notification", "analytics")
AROUND = ("envoy", "gateway-1", "valkey", "psp-sandbox", "mailbox")
REQUESTS_PER_S = 50.0
STOCK = 10_000
IN_FLIGHT = 40
"""Orders under way when an instance is killed."""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform of its own: these tests change it."""
    with running(tmp_path_factory.mktemp("rolling")) as platform:
        yield platform


async def _visitors(shop: Shop, admin: str, *, seed: int, unkeyed_writes: bool = True) -> Visitors:
    sku = await product(shop, admin, stock=STOCK)
    return Visitors(shop, await crowd(shop, 10), sku, admin, seed=seed, unkeyed_writes=unkeyed_writes)


async def test_every_room_is_restarted_and_nobody_notices(platform: Platform, shop: Shop, admin: str) -> None:
    visitors = await _visitors(shop, admin, seed=2)
    loop = OpenLoop(visitors.visit, rate_per_s=REQUESTS_PER_S)
    before = await asyncio.to_thread(rows, platform)
    async with loop.running():
        await loop.answered(50)
        for room in ROOMS:
            await asyncio.to_thread(platform.command, "restart", room)
            assert loop.failures == {}, f"while {room} was restarted"
        await loop.answered(50)
    assert loop.failures == {}
    after = await asyncio.to_thread(rows, platform)
    assert before.keys() == after.keys()
    for name, row in after.items():
        assert (row["pid"] != before[name]["pid"]) == (row["room"] in ROOMS), name
        assert row["ready"], name
        assert row["restarts"] == 0, f"{name} died"
    await visitors.all_confirmed()
    await asyncio.to_thread(audit, platform)


async def test_what_stands_around_the_rooms_is_restarted_and_nobody_notices(
    platform: Platform, shop: Shop, admin: str
) -> None:
    """All but PostgreSQL, which a request cannot do without."""
    visitors = await _visitors(shop, admin, seed=5)
    loop = OpenLoop(visitors.visit, rate_per_s=REQUESTS_PER_S)
    before = await asyncio.to_thread(rows, platform)
    async with loop.running():
        await loop.answered(50)
        for name in AROUND:
            await asyncio.to_thread(platform.command, "restart", name)
            assert loop.failures == {}, f"while {name} was restarted"
        await loop.answered(50)
    assert loop.failures == {}
    after = await asyncio.to_thread(rows, platform)
    assert {name for name in after if after[name]["pid"] != before[name]["pid"]} == set(AROUND)
    await visitors.all_confirmed()
    await asyncio.to_thread(audit, platform)


async def test_more_instances_and_fewer_and_nobody_notices(platform: Platform, shop: Shop, admin: str) -> None:
    visitors = await _visitors(shop, admin, seed=3)
    loop = OpenLoop(visitors.visit, rate_per_s=REQUESTS_PER_S)
    async with loop.running():
        await loop.answered(50)
        for change in ("order=2", "payment=2", "order=3", "payment=1", "order=1"):
            await asyncio.to_thread(platform.command, "scale", change)
            assert loop.failures == {}, f"at scale {change}"
        await loop.answered(50)
    assert loop.failures == {}
    found = (await asyncio.to_thread(rows, platform)).values()
    assert [row["name"] for row in found if row["room"] in ("order", "payment")] == ["order-1", "payment-1"]
    await visitors.all_confirmed()
    await asyncio.to_thread(audit, platform)


async def test_both_instances_serve(platform: Platform, shop: Shop, admin: str, two_orders: None) -> None:
    sku = await product(shop, admin)
    asked = ("GET", "/v1/products/{sku}")
    before = {name: await _served(platform, name, *asked) for name in ("order-1", "order-2")}
    await asyncio.gather(*(shop.call("GET", f"/v1/products/{sku}") for _ in range(60)))
    for name, count in before.items():
        assert await _served(platform, name, *asked) - count >= 10, f"{name} had next to nothing to do"


async def test_one_of_two_dies_and_nobody_notices(platform: Platform, shop: Shop, admin: str, two_orders: None) -> None:
    visitors = await _visitors(shop, admin, seed=4, unkeyed_writes=False)
    buyers = await crowd(shop, IN_FLIGHT)
    loop = OpenLoop(visitors.visit, rate_per_s=REQUESTS_PER_S)
    victim = (await asyncio.to_thread(rows, platform))["order-2"]
    async with loop.running():
        await loop.answered(50)
        orders = [asyncio.create_task(visitors.order(buyer)) for buyer in buyers]
        await asyncio.wait(orders, return_when=asyncio.FIRST_COMPLETED)  # so the others are on their way
        os.kill(victim["pid"], signal.SIGKILL)
        await asyncio.gather(*orders)
        await asyncio.to_thread(until_ready, platform, "order-2", other_than=victim["pid"])
        await loop.answered(50)
    assert loop.failures == {}
    await visitors.all_confirmed()

    # The address it had is out of rotation, the one it has now is in.
    mark = new_id()
    await asyncio.gather(*(shop.call("GET", "/v1/products", headers={"user-agent": mark}) for _ in range(60)))
    fresh = (await asyncio.to_thread(rows, platform))["order-2"]
    upstreams: Counter[str] = Counter()

    def logged() -> bool:
        upstreams.clear()
        for line in platform.command("logs", "envoy", "--format", "json", "--since", "1m").splitlines():
            fields = json.loads(line)["fields"]
            if fields.get("agent") == mark:
                upstreams[fields["upstream"]] += 1
        return upstreams.total() == 60

    await asyncio.to_thread(until, logged, "the access log to have all 60 requests")
    assert _address(victim["url"]) not in upstreams
    assert upstreams[_address(fresh["url"])] >= 10
    await asyncio.to_thread(audit, platform)


async def test_one_key_at_two_instances_makes_one_order(
    platform: Platform, shop: Shop, admin: str, two_orders: None
) -> None:
    ada = await newcomer(shop)
    sku, key = await product(shop, admin), new_id()
    before = {name: await _served(platform, name, "POST", "/v1/orders") for name in ("order-1", "order-2")}
    place = (shop.call("POST", "/v1/orders", token=ada.token, body=order_body(sku), key=key) for _ in range(30))
    answers = await asyncio.gather(*place)
    assert len({answer.body["id"] for answer in answers}) == 1
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 29
    for name, count in before.items():
        assert await _served(platform, name, "POST", "/v1/orders") > count, f"{name} was not asked"
    assert len((await shop.call("GET", "/v1/orders", token=ada.token)).body["items"]) == 1


async def test_who_follows_an_order_hears_all_of_it_over_a_rolling_restart(
    platform: Platform, shop: Shop, admin: str, two_orders: None
) -> None:
    ada = await newcomer(shop)
    sku = await product(shop, admin)
    placed = [
        (await shop.call("POST", "/v1/orders", token=ada.token, body=order_body(sku), key=new_id())).body
        for _ in range(8)
    ]
    followers = [Follower(platform.url, order["id"], ada.token) for order in placed]
    following = [asyncio.create_task(follower.follow()) for follower in followers]
    for order in placed:
        await shop.settled(ada.token, order["id"])
    before = [follower.connections for follower in followers]
    await asyncio.to_thread(platform.command, "restart", "order")
    for order in placed:
        for verb, body in (("ship", {"carrier": "DHL", "tracking": "1"}), ("deliver", None)):
            await shop.call("POST", f"/v1/orders/{order['id']}/{verb}", token=admin, body=body, key=new_id())
    async with asyncio.timeout(30):
        await asyncio.gather(*following)
    assert [follower.told for follower in followers] == [["placed", "confirmed", "shipped", "delivered", "end"]] * len(
        placed
    )
    assert all(follower.connections > was for follower, was in zip(followers, before, strict=True))


@pytest.fixture
def two_orders(platform: Platform) -> None:
    """Two instances of order-service."""
    platform.command("scale", "order=2")
    assert {"order-1", "order-2"} <= rows(platform).keys()


async def _served(platform: Platform, name: str, method: str, route: str) -> int:
    """How many requests an instance has answered, by its own metrics."""
    port = platform.state.ports()[name]["management_port"]
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        assert answer.status == 200
        lines = (await answer.text()).splitlines()
    labels = (f'method="{method}"', f'route="{route}"')
    counts = [line for line in lines if "_count{" in line and all(label in line for label in labels)]
    return sum(int(float(line.rpartition(" ")[2])) for line in counts)


def _address(url: str) -> str:
    return url.removeprefix("http://")
