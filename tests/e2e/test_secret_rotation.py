"""Secrets are replaced while customers are there, and none of them notices."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import asyncpg
import jwt
import pytest

from tests.e2e.customers import crowd, newcomer, product
from tests.e2e.platforms import audit, running
from tests.e2e.provider import Provider
from tests.e2e.traffic import OpenLoop, Visitors
from tradewind.bench.platform import Platform
from tradewind.stack.provision import room_access
from tradewind.traffic.client import Shop

REQUESTS_PER_S = 30.0
STOCK = 10_000


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform of its own: its secrets change."""
    with running(tmp_path_factory.mktemp("rotation")) as platform:
        yield platform


async def _rotated(platform: Platform, shop: Shop, admin: str, what: str) -> OpenLoop:
    sku = await product(shop, admin, stock=STOCK)
    visitors = Visitors(shop, await crowd(shop, 10), sku, admin, seed=7, unkeyed_writes=True)
    loop = OpenLoop(visitors.visit, rate_per_s=REQUESTS_PER_S)
    async with loop.running():
        await loop.answered(30)
        said = await asyncio.to_thread(platform.command, "secrets", "rotate", what, "--format", "json")
        assert json.loads(said)["rotated"] == what
        await loop.answered(60)
    assert loop.failures == {}
    await visitors.all_confirmed()
    return loop


async def test_the_signing_key(platform: Platform, shop: Shop, admin: str) -> None:
    early = await newcomer(shop)
    await _rotated(platform, shop, admin, "jwt")
    late = await newcomer(shop)
    kids = [jwt.get_unverified_header(each.token)["kid"] for each in (early, late)]
    assert kids[0] != kids[1]
    for each in (early, late):
        await shop.call("GET", "/v1/orders", token=each.token)
    published = (await shop.call("GET", "/.well-known/jwks.json")).body["keys"]
    assert {key["kid"] for key in published} == set(kids)


async def test_the_password_of_a_database_there_and_back(platform: Platform, shop: Shop, admin: str) -> None:
    for turn in range(2):
        old, password = platform.state.secrets().login("order")
        url = room_access(platform.admin_url, "order", password=password, owner_password="", login=old).url
        await (await asyncpg.connect(url)).close()
        await _rotated(platform, shop, admin, "database/order")
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(url)
        assert platform.state.secrets().login("order")[0] == ("order_service_b", "order_service")[turn]
    await asyncio.to_thread(audit, platform)


async def test_the_provider_s_keys(platform: Platform, shop: Shop, admin: str) -> None:
    before = Provider(platform)
    await before.conditions()
    await _rotated(platform, shop, admin, "provider")
    with pytest.raises(AssertionError, match="401"):
        await before.conditions()
    await Provider(platform).conditions()
    secrets = platform.state.secrets()
    assert "," not in secrets.both("sandbox_api_key") + secrets.both("sandbox_webhook")
    await asyncio.to_thread(audit, platform)
