"""The cache without its Valkey: everything works, loads are shared, nothing is mixed up."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from tradewind.chassis import request_scope
from tradewind.chassis.cache import Cache
from tradewind.chassis.metrics import Metrics


class Product(msgspec.Struct, frozen=True):
    sku: str
    price_minor: int


@pytest.fixture
async def cache():
    opened = await Cache.open(None, "order", metrics=Metrics())
    yield opened
    await opened.close()


async def test_without_valkey_every_call_loads(cache: Cache) -> None:
    loads = 0

    async def load() -> Product:
        nonlocal loads
        loads += 1
        return Product("mug", loads)

    assert await cache.get_or_load("mug", ttl_s=60, type=Product, load=load) == Product("mug", 1)
    assert await cache.get_or_load("mug", ttl_s=60, type=Product, load=load) == Product("mug", 2)
    await cache.invalidate("mug")


async def test_those_who_ask_together_share_one_load(cache: Cache) -> None:
    loads = 0
    gate = asyncio.Event()

    async def load() -> Product:
        nonlocal loads
        loads += 1
        await gate.wait()
        return Product("mug", loads)

    asking = [asyncio.create_task(cache.get_or_load("mug", ttl_s=60, type=Product, load=load)) for _ in range(50)]
    await asyncio.sleep(0)
    asking[0].cancel()  # the one that began the load
    await asyncio.sleep(0)
    gate.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1:] == [Product("mug", 1)] * 49
    assert loads == 1


async def test_a_failed_load_fails_for_all_who_wait_and_for_nobody_after(cache: Cache) -> None:
    loads = 0

    async def load() -> Product:
        nonlocal loads
        loads += 1
        await asyncio.sleep(0)
        if loads == 1:
            raise LookupError("gone")
        return Product("mug", loads)

    first = await asyncio.gather(
        *(cache.get_or_load("mug", ttl_s=60, type=Product, load=load) for _ in range(3)), return_exceptions=True
    )
    assert [type(answer) for answer in first] == [LookupError] * 3
    assert (await cache.get_or_load("mug", ttl_s=60, type=Product, load=load)).price_minor == 2


async def test_whoever_asks_after_an_invalidation_does_not_join_an_older_load(cache: Cache) -> None:
    row = Product("mug", 1)
    gate, begun = asyncio.Event(), asyncio.Event()

    async def slow() -> Product:
        read = row
        begun.set()
        await gate.wait()
        return read

    async def quick() -> Product:
        return row

    before = asyncio.create_task(cache.get_or_load("mug", ttl_s=60, type=Product, load=slow))
    await begun.wait()
    row = Product("mug", 2)
    await cache.invalidate("mug")
    assert await cache.get_or_load("mug", ttl_s=60, type=Product, load=quick) == Product("mug", 2)
    gate.set()
    assert await before == Product("mug", 1)


async def test_none_is_an_answer(cache: Cache) -> None:
    async def load() -> Product | None:
        return None

    assert await cache.get_or_load("nothing", ttl_s=60, type=Product, load=load, negative_ttl_s=5) is None


async def test_close_waits_for_an_invalidation_under_way() -> None:
    cache = await Cache.open(None, "order")
    cache.invalidate_soon("mug")
    await cache.close()
    assert not cache._background


async def test_the_first_askers_deadline_does_not_cut_the_load_of_the_others(cache: Cache) -> None:
    async def load() -> Product:
        return Product("mug", int(request_scope.remaining_s(60.0)))

    with request_scope.use_request("r-1", timeout_s=0.001):
        assert (await cache.get_or_load("mug", ttl_s=60, type=Product, load=load)).price_minor == 60
