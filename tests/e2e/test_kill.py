"""`kill -9` of whatever runs, while customers order: what was acknowledged is there, and paid once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.e2e.customers import crowd, newcomer, product, stock_of
from tests.e2e.platforms import audit, kill, rows, running, until, until_ready
from tests.e2e.provider import NORMAL, Provider
from tests.e2e.traffic import KeyedBuyers, OpenLoop, Visitors
from tradewind.bench.platform import Platform
from tradewind.traffic.client import Shop, Shopper

PRICE_MINOR = 1_450
ORDERS_PER_S = 8.0
STOCK = 1_000
LATE_MS = 5_000
"""Webhooks this late come after the test has looked."""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform of its own: these tests are hard on it."""
    with running(tmp_path_factory.mktemp("kill")) as platform:
        yield platform


@pytest.fixture(autouse=True)
async def weather(provider: Provider) -> AsyncIterator[None]:
    """Whatever a test makes of the provider, the next one finds it as it was."""
    yield
    await provider.conditions(**NORMAL)


@pytest.mark.parametrize(("method", "latency_ms"), [("pm_card_visa", 1_500), ("pm_sandbox_slow", 20)])
async def test_payment_dies_while_the_charge_is_under_way(
    platform: Platform, shop: Shop, admin: str, provider: Provider, method: str, latency_ms: int
) -> None:
    ada = await newcomer(shop)
    sku = await product(shop, admin)
    await provider.conditions(latency_ms=latency_ms, webhook_delay_ms=LATE_MS)
    died = int((await asyncio.to_thread(until_ready, platform, "payment-1"))["pid"])
    placed = await shop.place_order(ada, [(sku, 1)], method)
    # It is recorded before the provider is asked, so from here on the request is on its way or about to be.
    await shop.until(ada.token, f"/v1/payments?order_id={placed['id']}", lambda body: body["items"])
    os.kill(died, signal.SIGKILL)
    assert await provider.captured(placed["id"]) == []
    await _is_confirmed_with_one_charge(platform, shop, provider, ada, placed["id"], died)


async def test_payment_dies_between_the_charge_and_our_record_of_it(
    platform: Platform, shop: Shop, admin: str, provider: Provider
) -> None:
    ada = await newcomer(shop)
    sku = await product(shop, admin)
    # Charged, but no answer and no webhook: nobody but the provider's own list knows.
    await provider.conditions(webhook_delay_ms=LATE_MS)
    pid = int((await asyncio.to_thread(rows, platform))["payment-1"]["pid"])
    placed = await shop.place_order(ada, [(sku, 1)], "pm_sandbox_timeout_charged")
    async with asyncio.timeout(10):
        while await provider.captured(placed["id"]) == []:
            await asyncio.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    assert (await shop.order(ada.token, placed["id"]))["status"] == "pending"
    await _is_confirmed_with_one_charge(platform, shop, provider, ada, placed["id"], pid)


async def _is_confirmed_with_one_charge(
    platform: Platform, shop: Shop, provider: Provider, shopper: Shopper, order_id: str, died: int
) -> None:
    await asyncio.to_thread(until_ready, platform, "payment-1", other_than=died)
    order = await shop.settled(shopper.token, order_id, timeout_s=60.0)
    assert (order["status"], order["payment"]["status"]) == ("confirmed", "captured")
    assert await provider.captured(order_id) == [PRICE_MINOR]
    await asyncio.to_thread(audit, platform)


async def test_a_201_survives_the_death_of_everything(
    platform: Platform, shop: Shop, admin: str, provider: Provider
) -> None:
    ada = await newcomer(shop)
    sku = await product(shop, admin, stock=10)
    running = await asyncio.to_thread(rows, platform)
    placed = await shop.place_order(ada, [(sku, 3)], "pm_card_visa")
    for row in running.values():
        os.kill(row["pid"], signal.SIGKILL)
    for name, row in running.items():
        await asyncio.to_thread(until_ready, platform, name, other_than=row["pid"])
    order = await shop.settled(ada.token, placed["id"], timeout_s=60.0)
    assert order["status"] == "confirmed"
    assert await provider.captured(placed["id"]) == [3 * PRICE_MINOR]
    assert await stock_of(shop, sku) == 7
    await asyncio.to_thread(audit, platform)


@pytest.mark.parametrize("name", ["order-1", "payment-1", "postgres", "envoy"])
async def test_no_acknowledged_order_is_lost(
    platform: Platform, shop: Shop, admin: str, provider: Provider, name: str
) -> None:
    sku = await product(shop, admin, stock=STOCK)
    buyers = KeyedBuyers(shop, await crowd(shop, 5), sku)
    loop = OpenLoop(buyers.buy, rate_per_s=ORDERS_PER_S)
    async with loop.running():
        await loop.answered(5)
        died = await asyncio.to_thread(kill, platform, name)
        await asyncio.to_thread(until_ready, platform, name, other_than=died)
        await loop.answered(5)
    assert loop.failures == {}, f"tried again: {buyers.tried_again}"
    assert len(buyers.acknowledged) == loop.sent
    await buyers.all_confirmed()
    assert await stock_of(shop, sku) == STOCK - loop.sent
    for order_id in buyers.acknowledged:
        assert await provider.captured(order_id) == [PRICE_MINOR]
    await asyncio.to_thread(audit, platform)


async def test_what_no_request_needs_may_die_unnoticed(platform: Platform, shop: Shop, admin: str) -> None:
    """The control plane, the cache and the mailbox: requests go on, and mail arrives when somebody takes it again."""
    names = ("gateway-1", "valkey", "mailbox")
    visitors = Visitors(shop, await crowd(shop, 5), await product(shop, admin, stock=STOCK), admin, seed=1)
    loop = OpenLoop(visitors.visit, rate_per_s=30)
    async with loop.running():
        await loop.answered(15)
        died = {name: await asyncio.to_thread(kill, platform, name) for name in names}
        for name in names:
            await asyncio.to_thread(until_ready, platform, name, other_than=died[name])
        await loop.answered(15)
    assert loop.failures == {}
    await visitors.all_confirmed()
    await asyncio.to_thread(audit, platform)
    buyers = {shopper.email for shopper, _ in visitors.placed}

    def told() -> bool:
        letters = [line for line in platform.command("mail", "ls").splitlines() if "is confirmed" in line]
        return all(any(email in line for line in letters) for email in buyers)

    await asyncio.to_thread(until, told, "every buyer to have a letter", 60.0)
