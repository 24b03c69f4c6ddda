"""A whole platform whose events travel on Apache Kafka, and a broker that is killed while customers order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.e2e.customers import crowd, newcomer, product, stock_of
from tests.e2e.platforms import audit, running
from tests.e2e.provider import Provider
from tradewind.bench.platform import CommandFailed, Platform
from tradewind.chassis.transport import open_transport
from tradewind.stack.kafka import KafkaEngine
from tradewind.stack.ports import free_port
from tradewind.traffic.client import Shop

PRICE_MINOR = 1_450
BUYERS = 6


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, kafka_engine: KafkaEngine) -> Iterator[Platform]:
    """A platform of its own, on a broker of its own."""
    with running(tmp_path_factory.mktemp("kafka"), {"TRADEWIND_KAFKA": kafka_engine.bootstrap}) as platform:
        yield platform


def letters(platform: Platform, email: str) -> int:
    """How many letters went to `email`."""
    return platform.command("mail", "ls", "--format", "json").count(email)


async def test_an_order_is_placed_paid_confirmed_and_told_of(
    platform: Platform, shop: Shop, admin: str, provider: Provider, kafka_engine: KafkaEngine
) -> None:
    ada, sku = await newcomer(shop), await product(shop, admin, stock=10)
    placed = await shop.place_order(ada, [(sku, 2)], "pm_card_visa")
    order = await shop.settled(ada.token, placed["id"])
    assert (order["status"], order["payment"]["status"]) == ("confirmed", "captured")
    assert await provider.captured(placed["id"]) == [2 * PRICE_MINOR]
    assert await stock_of(shop, sku) == 8
    await shop.until(
        ada.token, "/v1/notifications", lambda body: any("is confirmed" in item["title"] for item in body["items"])
    )
    async with asyncio.timeout(30):
        while await asyncio.to_thread(letters, platform, ada.email) < 2:
            await asyncio.sleep(0.2)
    # It went through Kafka: the topics are there, and every group is at their heads.
    transport = await open_transport(kafka_engine.url, member="test")
    heads = await transport.heads()
    assert {"order", "payment"} <= {topic for topic, _ in heads}
    assert any(head for (topic, _), head in heads.items() if topic == "order")
    assert {"order-service", "payment-service", "notification-service"} <= set(await transport.groups())
    await transport.close()


async def test_a_broker_killed_while_customers_order_costs_nobody_anything(
    platform: Platform, shop: Shop, admin: str, provider: Provider, kafka_engine: KafkaEngine
) -> None:
    buyers, sku = await crowd(shop, BUYERS), await product(shop, admin, stock=100)
    before = [await shop.place_order(buyer, [(sku, 1)], "pm_card_visa") for buyer in buyers]
    await kafka_engine.kill()
    # The door stays open: an order needs no broker to be placed.
    during = [await shop.place_order(buyer, [(sku, 1)], "pm_card_visa") for buyer in buyers]
    await kafka_engine.start()
    after = [await shop.place_order(buyer, [(sku, 1)], "pm_card_visa") for buyer in buyers]
    for placed in (before, during, after):
        for buyer, each in zip(buyers, placed, strict=True):
            order = await shop.settled(buyer.token, each["id"], timeout_s=60.0)
            assert (order["status"], order["payment"]["status"]) == ("confirmed", "captured")
            assert await provider.captured(each["id"]) == [PRICE_MINOR]
    assert await stock_of(shop, sku) == 100 - 3 * BUYERS
    balances = (await shop.call("GET", "/v1/ledger/trial-balance", token=admin)).body["items"]
    assert all(row["balanced"] for row in balances)


async def test_the_other_verbs_know_where_the_events_are(platform: Platform, kafka_engine: KafkaEngine) -> None:
    assert "bus: on Kafka" in await asyncio.to_thread(platform.command, "migrate")
    assert "Kafka" in await asyncio.to_thread(platform.command, "doctor")
    assert "bus" not in {row["name"] for row in platform.processes()}


async def test_the_next_run_may_be_without_it_and_the_audit_knows_since_when(platform: Platform) -> None:
    await asyncio.to_thread(audit, platform)
    await asyncio.to_thread(platform.down)
    without = Platform(platform.folder, {"TRADEWIND_KAFKA": ""})
    said = await asyncio.to_thread(without.command, "up", "-d", "--port", str(without.port))
    assert "another bus than last time" in said
    await asyncio.to_thread(audit, without)
    with pytest.raises(CommandFailed, match="never reached the bus"):
        await asyncio.to_thread(without.command, "audit", "--bus-since", "2020-01-01T00:00:00Z")


async def test_an_address_where_nobody_answers_is_refused_before_anything_starts(
    kafka_engine: KafkaEngine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    platform = Platform(tmp_path_factory.mktemp("nobody") / "state", {"TRADEWIND_KAFKA": kafka_engine.bootstrap})
    with pytest.raises(CommandFailed, match=f"no Kafka broker answers at {nobody}"):
        await asyncio.to_thread(platform.up, "--kafka", nobody)
    assert platform.state.ports() == {}
