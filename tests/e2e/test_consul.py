"""A whole platform whose services know each other from Consul, and an agent that is killed while customers order."""

from __future__ import annotations

import asyncio
import json
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.customers import crowd, newcomer, product
from tests.e2e.platforms import audit, kill, running, until, until_ready
from tests.e2e.provider import Provider
from tradewind.bench.platform import CommandFailed, Platform
from tradewind.stack.consul import ConsulEngine
from tradewind.stack.ports import free_port
from tradewind.traffic.client import Shop

PRICE_MINOR = 1_450
BUYERS = 4
SERVICES = {f"{room}-service" for room in ("auth", "user", "order", "payment", "notification", "analytics")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the agent keeps its data."""
    return tmp_path_factory.mktemp("consul") / "consul"


@pytest.fixture(scope="module")
async def agent(consul_program: None, folder: Path) -> ConsulEngine:
    """An agent of the module's own; a test ends it and starts it again. It dies with the tests."""
    engine = ConsulEngine(folder)
    await engine.start()
    return engine


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, agent: ConsulEngine) -> Iterator[Platform]:
    """A platform of its own, on that agent."""
    with running(tmp_path_factory.mktemp("on-consul"), {"TRADEWIND_CONSUL": agent.address}) as platform:
        yield platform


def passing(agent: ConsulEngine) -> set[str]:
    """The services with an instance that passes all its checks."""
    found = set()
    for service in SERVICES:
        with urllib.request.urlopen(f"http://{agent.address}/v1/health/service/{service}?passing=1") as answer:
            if json.load(answer):
                found.add(service)
    return found


async def pays(shop: Shop, provider: Provider, token: str, placed: str) -> None:
    order = await shop.settled(token, placed, timeout_s=60.0)
    assert (order["status"], order["payment"]["status"]) == ("confirmed", "captured")
    assert await provider.captured(placed) == [PRICE_MINOR]


async def test_an_order_is_paid_and_every_service_passes_its_checks(
    platform: Platform, shop: Shop, admin: str, provider: Provider, agent: ConsulEngine
) -> None:
    ada, sku = await newcomer(shop), await product(shop, admin, stock=10)
    placed = await shop.place_order(ada, [(sku, 1)], "pm_card_visa")
    await pays(shop, provider, ada.token, placed["id"])
    assert await asyncio.to_thread(passing, agent) == SERVICES
    assert "consul" in await asyncio.to_thread(platform.command, "ps")


async def test_without_consul_orders_go_on_also_over_a_restart_of_the_gateway(
    platform: Platform, shop: Shop, admin: str, provider: Provider, agent: ConsulEngine, folder: Path
) -> None:
    buyers, sku = await crowd(shop, BUYERS), await product(shop, admin, stock=100)
    await agent.kill()
    pid = await asyncio.to_thread(kill, platform, "gateway-1")
    for buyer in buyers:
        placed = await shop.place_order(buyer, [(sku, 1)], "pm_card_visa")
        await pays(shop, provider, buyer.token, placed["id"])
    await asyncio.to_thread(until_ready, platform, "gateway-1", other_than=pid)
    for buyer in buyers:
        placed = await shop.place_order(buyer, [(sku, 1)], "pm_card_visa")
        await pays(shop, provider, buyer.token, placed["id"])
    # It comes back with nothing of what it knew.
    await asyncio.to_thread(shutil.rmtree, folder / "data")
    await agent.start()
    for buyer in buyers:
        placed = await shop.place_order(buyer, [(sku, 1)], "pm_card_visa")
        await pays(shop, provider, buyer.token, placed["id"])
    await asyncio.to_thread(until, lambda: passing(agent) == SERVICES, "every service to register again")
    await asyncio.to_thread(audit, platform)


async def test_an_address_where_nobody_answers_is_refused_before_anything_starts(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    platform = Platform(tmp_path_factory.mktemp("nobody") / "state", {})
    with pytest.raises(CommandFailed, match=f"no Consul agent answers at {nobody}"):
        await asyncio.to_thread(platform.up, "--consul", f"http://{nobody}")
    with pytest.raises(CommandFailed, match="--consul: a Consul address begins with"):
        await asyncio.to_thread(platform.up, "--consul", "ftp://somewhere")
    assert platform.state.ports() == {}
