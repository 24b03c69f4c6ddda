"""The cache on a real Valkey, and on one that is slow, frozen, gone and back again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlsplit, urlunsplit

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from valkey.asyncio import Valkey

from tradewind.chassis.cache import Cache
from tradewind.chassis.cache_shelf import SKIP_S, TIMEOUT_S
from tradewind.chassis.ids import new_id
from tradewind.chassis.metrics import Metrics


class Product(msgspec.Struct, frozen=True):
    sku: str
    price_minor: int


class Table:
    """The truth behind the cache: one row, how often it was read, and a gate to hold a read open."""

    def __init__(self) -> None:
        self.row: Product | None = Product("mug", 1)
        self.reads = 0
        self.gate: asyncio.Event | None = None
        self.reading = asyncio.Event()

    async def load(self) -> Product | None:
        self.reads += 1
        row = self.row
        self.reading.set()
        if self.gate is not None:
            await self.gate.wait()
        return row


class Wire:
    """A TCP proxy before Valkey that can freeze, and that can be cut and mended."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._port = 0

    @property
    def url(self) -> str:
        user, at, _ = self._url.netloc.rpartition("@")
        return urlunsplit(self._url._replace(netloc=f"{user}{at}127.0.0.1:{self._port}"))

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in [*self._writers]:
            writer.transport.abort()
        await self._server.wait_closed()

    def freeze(self) -> None:
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(self._url.hostname, self._url.port)
        self._writers |= {writer, there[1]}
        with contextlib.suppress(OSError):
            await asyncio.gather(self._pump(reader, there[1]), self._pump(there[0], writer))
        for each in (writer, there[1]):
            self._writers.discard(each)
            each.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            await self._flowing.wait()
            writer.write(data)
            await writer.drain()
        writer.close()


Opener = Callable[..., Awaitable[Cache]]


@pytest.fixture
def prefix() -> str:
    return f"test-{new_id()}"


@pytest.fixture
async def open_cache(prefix: str) -> AsyncIterator[Opener]:
    """Caches of several processes, so to speak: each has its own connections, all have one prefix."""
    async with contextlib.AsyncExitStack() as stack:

        async def opener(url: str, metrics: Metrics | None = None, timeout_s: float = 5.0) -> Cache:
            opened = await Cache.open(url, prefix, metrics=metrics, timeout_s=timeout_s)
            stack.push_async_callback(opened.close)
            return opened

        yield opener


@pytest.fixture
async def wire(valkey_url: str) -> AsyncIterator[Wire]:
    found = Wire(valkey_url)
    await found.mend()
    yield found
    found.thaw()
    with contextlib.suppress(AssertionError):
        await found.cut()


async def get(cache: Cache, table: Table, key: str = "mug", ttl_s: float = 60.0) -> Product | None:
    return await cache.get_or_load(key, ttl_s=ttl_s, type=Product, load=table.load)


async def eventually(condition: Callable[[], Awaitable[bool]], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.02)


async def results(metrics: Metrics) -> dict[str, float]:
    text = (await metrics.render()).decode()
    return {
        sample.labels["result"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "cache_requests_total"
    }


async def test_a_value_is_loaded_once_and_shared(open_cache: Opener, valkey_url: str) -> None:
    metrics = Metrics()
    one, two, table = await open_cache(valkey_url, metrics), await open_cache(valkey_url), Table()
    for _ in range(3):
        assert await get(one, table) == Product("mug", 1)
        assert await get(two, table) == Product("mug", 1)
    assert table.reads == 1
    assert await results(metrics) == {"hit": 2.0, "miss": 1.0, "error": 0.0, "skipped": 0.0}


async def test_an_invalidation_reaches_every_process(open_cache: Opener, valkey_url: str) -> None:
    one, two, table = await open_cache(valkey_url), await open_cache(valkey_url), Table()
    await get(one, table)
    table.row = Product("mug", 2)
    await two.invalidate("mug", "another")
    assert await get(one, table) == Product("mug", 2)
    assert await get(two, table) == Product("mug", 2)
    assert table.reads == 2


@pytest.mark.parametrize("same_process", [True, False])
async def test_a_load_that_raced_with_an_invalidation_stores_nothing(
    open_cache: Opener, valkey_url: str, same_process: bool
) -> None:
    loading = await open_cache(valkey_url)
    writing = loading if same_process else await open_cache(valkey_url)
    table = Table()
    table.gate = asyncio.Event()
    old = asyncio.create_task(get(loading, table))
    await table.reading.wait()  # the old row is read, and not stored yet
    table.row = Product("mug", 2)
    await writing.invalidate("mug")
    table.gate.set()
    assert await old == Product("mug", 1)
    assert await get(loading, table) == Product("mug", 2)
    assert await get(writing, table) == Product("mug", 2)
    assert table.reads == 2


async def test_a_second_invalidation_during_the_same_load_counts_too(open_cache: Opener, valkey_url: str) -> None:
    one, two, table = await open_cache(valkey_url), await open_cache(valkey_url), Table()
    await two.invalidate("mug")  # there is a mark already
    table.gate = asyncio.Event()
    old = asyncio.create_task(get(one, table))
    await table.reading.wait()
    table.row = Product("mug", 3)
    await two.invalidate("mug")
    table.gate.set()
    await old
    assert await get(one, table) == Product("mug", 3)


async def test_a_value_lives_for_its_ttl_and_no_longer(open_cache: Opener, valkey_url: str, prefix: str) -> None:
    cache, table = await open_cache(valkey_url), Table()
    await get(cache, table, ttl_s=0.2)
    table.row = Product("mug", 2)

    async def renewed() -> bool:
        return await get(cache, table, ttl_s=60) == Product("mug", 2)

    await eventually(renewed, within_s=5)
    for number in range(20):
        await get(cache, table, key=f"k{number}", ttl_s=100)
    async with Valkey.from_url(valkey_url) as client:
        lives_ms = [await client.pttl(f"tradewind:{prefix}:{{k{number}}}") for number in range(20)]
    assert all(89_000 < life_ms <= 100_000 for life_ms in lives_ms)
    assert len({life_ms // 100 for life_ms in lives_ms}) > 5  # spread out


async def test_that_there_is_nothing_is_remembered_only_on_request(open_cache: Opener, valkey_url: str) -> None:
    cache, table = await open_cache(valkey_url), Table()
    table.row = None
    for _ in range(2):
        assert await get(cache, table) is None
    assert table.reads == 2
    for _ in range(3):
        found = await cache.get_or_load("no", ttl_s=60, type=Product, load=table.load, negative_ttl_s=30)
        assert found is None
    assert table.reads == 3
    table.row = Product("no", 1)
    await cache.invalidate("no")
    assert await get(cache, table, key="no") == Product("no", 1)


async def test_a_value_of_another_shape_is_replaced(open_cache: Opener, valkey_url: str) -> None:
    cache, table = await open_cache(valkey_url), Table()

    async def older() -> dict[str, str]:
        return {"sku": "mug"}

    await cache.get_or_load("mug", ttl_s=60, type=dict[str, str], load=older)
    assert await get(cache, table) == Product("mug", 1)
    assert await get(cache, table) == Product("mug", 1)
    assert table.reads == 1


async def test_many_askers_read_once_when_a_key_is_cold(open_cache: Opener, valkey_url: str) -> None:
    metrics = Metrics()
    cache, table = await open_cache(valkey_url, metrics), Table()
    table.gate = asyncio.Event()
    asking = [asyncio.create_task(get(cache, table)) for _ in range(100)]

    async def all_have_looked() -> bool:
        return (await results(metrics))["miss"] == 100

    await eventually(all_have_looked)
    table.gate.set()
    assert await asyncio.gather(*asking) == [Product("mug", 1)] * 100
    assert table.reads == 1


async def test_a_load_that_took_too_long_is_not_stored(valkey_url: str, prefix: str) -> None:
    cache, table = await Cache.open(valkey_url, prefix, max_load_s=0.0), Table()
    await get(cache, table)
    await get(cache, table)
    assert table.reads == 2
    await cache.close()


async def test_a_frozen_valkey_costs_three_time_outs_a_second(open_cache: Opener, wire: Wire) -> None:
    metrics = Metrics()
    cache, table = await open_cache(wire.url, metrics, TIMEOUT_S), Table()
    await get(cache, table)
    wire.freeze()
    started_s = time.monotonic()
    for _ in range(200):
        assert await get(cache, table) == Product("mug", 1)
    took_s = time.monotonic() - started_s
    assert took_s < SKIP_S
    assert table.reads == 201
    counted = await results(metrics)
    assert counted["error"] == 3.0
    assert counted["skipped"] == 197.0
    assert took_s >= 3 * TIMEOUT_S
    wire.thaw()

    async def used_again() -> bool:
        reads = table.reads
        await get(cache, table)
        return table.reads == reads

    await eventually(used_again)


async def test_late_answers_are_not_taken_for_others(open_cache: Opener, wire: Wire) -> None:
    """A connection whose answer nobody waited for must not hand it to whoever asks next."""
    cache = await open_cache(wire.url, timeout_s=TIMEOUT_S)

    async def load(number: int) -> Product:
        return Product(f"k{number}", number)

    async def ask(number: int) -> bool:
        found = await cache.get_or_load(f"k{number}", ttl_s=60, type=Product, load=lambda: load(number))
        return found == Product(f"k{number}", number)

    for _ in range(3):
        assert all(await asyncio.gather(*(ask(number) for number in range(30))))
        wire.freeze()
        assert all(await asyncio.gather(*(ask(number) for number in range(30))))
        wire.thaw()


async def test_a_valkey_that_is_gone_fails_nobody_and_is_used_again_once_back(open_cache: Opener, wire: Wire) -> None:
    cache, table = await open_cache(wire.url), Table()
    await get(cache, table)
    await wire.cut()
    for _ in range(20):
        assert await get(cache, table) == Product("mug", 1)
    await cache.invalidate("other")
    await wire.mend()

    async def used_again() -> bool:
        reads = table.reads
        await get(cache, table)
        return table.reads == reads

    await eventually(used_again)


async def test_an_invalidation_that_valkey_did_not_get_is_made_up_for(
    open_cache: Opener, wire: Wire, valkey_url: str
) -> None:
    """The value in Valkey is old, and the process that changed the row could not say so at the time."""
    writer, other, table = await open_cache(wire.url), await open_cache(valkey_url), Table()
    await get(writer, table)
    await wire.cut()
    table.row = Product("mug", 2)
    await writer.invalidate("mug")
    assert await get(writer, table) == Product("mug", 2)
    assert await get(other, table) == Product("mug", 1)  # nobody could tell it
    await wire.mend()

    async def told() -> bool:
        await get(writer, table, key="anything")
        return await get(other, table) == Product("mug", 2)

    await eventually(told)
    assert await get(writer, table) == Product("mug", 2)
    assert writer._shelf is not None
    assert not writer._shelf._owed


async def test_a_key_that_valkey_could_not_be_told_to_forget_is_not_read_from_it(
    open_cache: Opener, valkey_url: str
) -> None:
    """Valkey answers reads and hangs on writes, as one does whose disk is stuck."""
    cache, table = await open_cache(valkey_url, timeout_s=TIMEOUT_S), Table()
    await get(cache, table)
    table.row = Product("mug", 2)
    async with Valkey.from_url(valkey_url) as server:
        await server.execute_command("CLIENT", "PAUSE", "5000", "WRITE")
        try:
            await cache.invalidate("mug")
            assert await get(cache, table) == Product("mug", 2)
        finally:
            await server.execute_command("CLIENT", "UNPAUSE")


async def test_a_start_without_valkey_is_a_start(open_cache: Opener) -> None:
    cache, table = await open_cache("redis://127.0.0.1:1/0"), Table()
    assert await get(cache, table) == Product("mug", 1)


async def test_invalidate_soon_happens(open_cache: Opener, valkey_url: str) -> None:
    cache, table = await open_cache(valkey_url), Table()
    await get(cache, table)
    table.row = Product("mug", 2)
    cache.invalidate_soon("mug")

    async def renewed() -> bool:
        return await get(cache, table) == Product("mug", 2)

    await eventually(renewed)


async def test_a_storm_of_writers_and_readers_ends_with_the_truth(open_cache: Opener, valkey_url: str) -> None:
    """However loads and invalidations interleave, nobody reads an old value once all is quiet."""
    caches = [await open_cache(valkey_url) for _ in range(4)]
    table = Table()

    async def slow_load() -> Product | None:
        row = table.row
        await asyncio.sleep(0.002)
        return row

    async def read(cache: Cache) -> None:
        for _ in range(150):
            await cache.get_or_load("mug", ttl_s=60, type=Product, load=slow_load)

    async def write(cache: Cache, start: int) -> None:
        for number in range(50):
            table.row = Product("mug", start + number)
            await cache.invalidate("mug")
            await asyncio.sleep(0.003)

    await asyncio.gather(*(read(cache) for cache in caches), write(caches[0], 1_000), write(caches[1], 2_000))
    for cache in caches:
        assert await cache.get_or_load("mug", ttl_s=60, type=Product, load=slow_load) == table.row
