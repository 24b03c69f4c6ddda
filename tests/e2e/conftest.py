"""One platform for all tests that leave it whole; modules that break things or need other settings override `platform`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.e2e.customers import administrator
from tests.e2e.platforms import running
from tests.e2e.provider import Provider
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
