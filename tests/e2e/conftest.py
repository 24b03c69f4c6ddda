"""One platform for all tests that leave it whole; modules that break things or need other settings override `platform`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from tests.e2e.customers import administrator
from tests.e2e.edge import TIMEOUT_S, Edge
from tests.e2e.platforms import audit, running
from tests.e2e.provider import Provider
from tests.e2e.targets import AT_ONCE, Target, everything, something_real
from tradewind.bench.platform import Platform
from tradewind.traffic.client import Shop, open_shop


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A running platform with raised rate limits: one address plays a hundred customers here."""
    with running(tmp_path_factory.mktemp("e2e")) as platform:
        yield platform


@pytest.fixture
async def shop(platform: Platform) -> AsyncIterator[Shop]:
    """A client of its public door."""
    async with open_shop(platform.url) as shop:
        yield shop


@pytest.fixture
async def admin(shop: Shop) -> str:
    """An administrator's access token."""
    return await administrator(shop)


@pytest.fixture
def provider(platform: Platform) -> Provider:
    """Its payment provider."""
    return Provider(platform)


@pytest.fixture(scope="module")
async def edge(platform: Platform) -> AsyncIterator[Edge]:
    """A client without good manners; the `loop_scope` of those who use it is the module."""
    connector = aiohttp.TCPConnector(limit=AT_ONCE)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, max_line_size=2**20, max_field_size=2**20
    ) as session:
        yield Edge(session, platform.port)


@pytest.fixture(scope="module")
async def target(platform: Platform, edge: Edge) -> Target:
    """Something real to aim at."""
    return await something_real(platform, edge)


@pytest.fixture(scope="module")
async def nothing_is_stored(platform: Platform, edge: Edge, target: Target) -> AsyncIterator[None]:
    """Everything that can be read is the same after the tests of a module as before."""
    await asyncio.to_thread(audit, platform)  # waits until all has happened that follows from making the target
    before = await everything(edge, target)
    yield
    assert await everything(edge, target) == before
    await asyncio.to_thread(audit, platform)
