"""Scaling, a rolling restart of every service and a `kill -9` at 200 requests a second: none fails. A short form of the bench part `rolling`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.e2e.platforms import audit, running
from tradewind.bench.orders import prepare
from tradewind.bench.platform import Platform
from tradewind.bench.rolling import RATE_PER_S, ROOMS, Visits, every_change, under_traffic
from tradewind.traffic.client import Shop

REQUESTS = 2_000


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform of its own: this test changes it."""
    with running(tmp_path_factory.mktemp("without-loss")) as platform:
        yield platform


async def test_no_request_fails_while_everything_is_replaced(platform: Platform, shop: Shop, admin: str) -> None:
    shoppers, skus = await prepare(shop, admin)
    visits = Visits(shop, shoppers, skus, admin, seed=7)
    outcome = await under_traffic(platform, visits, every_change(platform), requests=REQUESTS, rate_per_s=RATE_PER_S)
    assert outcome.failures == {}
    assert outcome.limited == 0
    assert outcome.sent >= REQUESTS
    assert outcome.retries_refused == 0, "the retry budget ran out in the very crash it is for"
    assert {f"restart {room}" for room in ROOMS} | {"kill -9 order-2"} <= outcome.changes.keys()
    await asyncio.to_thread(audit, platform)
