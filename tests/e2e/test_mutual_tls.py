"""The whole platform under mutual TLS, with certificates of ten seconds: traffic, and kills while they are renewed."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator

import aiohttp
import pytest

from tests.e2e.customers import crowd, newcomer, order_body, product
from tests.e2e.platforms import audit, kill, rows, running, until, until_ready
from tests.e2e.traffic import KeyedBuyers, OpenLoop, Visitors
from tradewind.bench.platform import Platform
from tradewind.chassis.ids import new_id
from tradewind.traffic.client import ADDRESS, Shop

LIFETIME_S = 10
STRICT = {"MESH_MTLS": "strict", "GATEWAY_CERTIFICATE_LIFETIME_S": str(LIFETIME_S)}
ROOMS = ("auth", "user", "order", "payment", "notification", "analytics")
NO_CLAIM = ssl.create_default_context()
NO_CLAIM.check_hostname, NO_CLAIM.verify_mode = False, ssl.CERT_NONE


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform of its own."""
    with running(tmp_path_factory.mktemp("strict"), STRICT) as platform:
        yield platform


def renewals(platform: Platform, name: str) -> int:
    """How many certificates a process got so far."""
    return platform.state.log(name).read_text().count("a new certificate")


async def renewed(platform: Platform, times: int, names: tuple[str, ...]) -> None:
    """Wait until each of `names` has that many more certificates than now."""
    before = {name: renewals(platform, name) for name in names}
    await asyncio.to_thread(
        until,
        lambda: all(renewals(platform, name) >= was + times for name, was in before.items()),
        f"{times} renewals of {', '.join(names)}",
        LIFETIME_S * (times + 2.0),
    )


async def test_orders_to_cash_while_every_certificate_is_renewed(platform: Platform, shop: Shop, admin: str) -> None:
    sku = await product(shop, admin, stock=10_000)
    shopper = await newcomer(shop)
    kept = await shop.call("POST", "/v1/users/me/addresses", token=shopper.token, body=ADDRESS)
    by_address = {**order_body(sku), "shipping_address_id": kept.body["id"]}
    del by_address["shipping_address"]
    visitors = Visitors(shop, await crowd(shop, 10), sku, admin, seed=11, unkeyed_writes=True)

    async def ask_across_the_mesh() -> None:
        """order-service asks user-service for the address, with the customer's own token."""
        await shop.call("POST", "/v1/orders", token=shopper.token, body=by_address, key=new_id())

    everybody = [OpenLoop(visitors.visit, rate_per_s=30.0), OpenLoop(ask_across_the_mesh, rate_per_s=5.0)]
    async with everybody[0].running(), everybody[1].running():
        await renewed(platform, 3, ("gateway-1", *(f"{room}-1" for room in ROOMS)))
        await asyncio.to_thread(platform.command, "restart", "user")
        await renewed(platform, 1, ("gateway-1",))
    assert [loop.failures for loop in everybody] == [{}, {}]
    assert everybody[1].sent > LIFETIME_S
    await visitors.all_confirmed()
    await asyncio.to_thread(audit, platform)


async def test_the_gateway_dies_while_certificates_are_renewed_and_nobody_notices(
    platform: Platform, shop: Shop, admin: str
) -> None:
    visitors = Visitors(shop, await crowd(shop, 5), await product(shop, admin, stock=10_000), admin, seed=12)
    loop = OpenLoop(visitors.visit, rate_per_s=20.0)
    async with loop.running():
        await renewed(platform, 1, ("gateway-1",))
        pid = await asyncio.to_thread(kill, platform, "gateway-1")
        await asyncio.to_thread(until_ready, platform, "gateway-1", other_than=pid)
        await renewed(platform, 2, ("gateway-1", "order-1"))
    assert loop.failures == {}
    await visitors.all_confirmed()
    await asyncio.to_thread(audit, platform)


async def test_envoy_dies_while_certificates_are_renewed_and_no_order_is_lost(
    platform: Platform, shop: Shop, admin: str
) -> None:
    sku = await product(shop, admin, stock=10_000)
    buyers = KeyedBuyers(shop, await crowd(shop, 5), sku)
    loop = OpenLoop(buyers.buy, rate_per_s=10.0)
    async with loop.running():
        await renewed(platform, 1, ("gateway-1",))
        pid = await asyncio.to_thread(kill, platform, "envoy")
        await asyncio.to_thread(until_ready, platform, "envoy", other_than=pid)
        await renewed(platform, 1, ("gateway-1", "order-1"))
        await loop.answered(20)
    assert loop.failures == {}
    await buyers.all_confirmed()
    await asyncio.to_thread(audit, platform)


async def test_no_service_port_and_no_control_port_is_open_to_a_stranger(platform: Platform) -> None:
    ports = platform.state.ports()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        for name in (f"{room}-1" for room in ROOMS):
            for scheme in ("http", "https"):
                with pytest.raises((aiohttp.ClientError, OSError)):
                    await session.get(f"{scheme}://127.0.0.1:{ports[name]['port']}/", ssl=NO_CLAIM)
        for scheme in ("http", "https"):
            with pytest.raises((aiohttp.ClientError, OSError)):
                await session.get(f"{scheme}://127.0.0.1:{ports['envoy']['egress_port']}/", ssl=NO_CLAIM)
        control = f"http://127.0.0.1:{ports['gateway-1']['control_port']}"
        async with session.post(f"{control}/v3/discovery:endpoints", json={"node": {"id": "envoy"}}) as answer:
            assert answer.status == 401
        async with session.get(f"{control}/v1/mesh") as answer:
            assert answer.status == 401
    assert all(row["ready"] for row in rows(platform).values() if row["room"])
