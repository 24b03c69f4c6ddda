"""A cache that nothing depends on: with Valkey slow or away everything works, slower.

    cache = await Cache.open(settings.valkey_url, "order")
    product = await cache.get_or_load(f"product:{sku}", ttl_s=60, type=Product, load=lambda: store.product(sku))
    tx.after_commit(lambda: cache.invalidate_soon(f"product:{sku}"))

How an invalidation that races with a load is kept from leaving an old value behind: see `cache_shelf`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, Final, TypeVar, cast, overload

import msgspec

from tradewind.chassis import cache_shelf, request_scope
from tradewind.chassis.cache_shelf import Shelf
from tradewind.chassis.errors import Unavailable
from tradewind.chassis.metrics import Metrics
from tradewind.chassis.settings import Secret

MAX_LOAD_S = 30.0
TTL_JITTER = 0.1
CLOSE_TIMEOUT_S = 1.0

T = TypeVar("T")

_MISS: Final = object()
_encode = msgspec.msgpack.Encoder().encode


class Cache:
    """Values by key under one prefix; made with `open`. No method raises anything of Valkey's."""

    def __init__(self, shelf: Shelf | None, name: str, metrics: Metrics, max_load_s: float) -> None:
        self._shelf = shelf
        self._max_load_s = max_load_s
        # Loads under way, by key and by the mark seen before: whoever asks after an invalidation sees another mark,
        # and so does not join a load that began before it.
        self._flights: dict[tuple[str, bytes | None], asyncio.Task[Any]] = {}
        self._background: set[asyncio.Task[None]] = set()
        lookups = metrics.counter("cache_requests", "Cache look-ups by result.", ("cache", "result"))
        self._count = {result: lookups.labels(name, result).inc for result in ("hit", "miss", "error", "skipped")}

    @classmethod
    async def open(
        cls,
        url: Secret | str | None,
        prefix: str,
        *,
        metrics: Metrics | None = None,
        timeout_s: float = cache_shelf.TIMEOUT_S,
        max_load_s: float = MAX_LOAD_S,
    ) -> Cache:
        """A cache at `url` (`redis://`, `rediss://`); without one every look-up loads.

        Connects at once, so that the log of the start says when Valkey is away; that is no error. `timeout_s` bounds
        each thing asked of it. What took longer than `max_load_s` (less than `MARK_TTL_S`) to load is not stored.
        """
        address = url.reveal() if isinstance(url, Secret) else url
        shelf = Shelf(address, prefix, timeout_s) if address else None
        if shelf is not None:
            await shelf.ping()
        return cls(shelf, prefix, metrics or Metrics(), max_load_s)

    @overload
    async def get_or_load(self, key: str, *, ttl_s: float, type: type[T], load: Callable[[], Awaitable[T]]) -> T: ...

    @overload
    async def get_or_load(
        self,
        key: str,
        *,
        ttl_s: float,
        type: type[T],
        load: Callable[[], Awaitable[T | None]],
        negative_ttl_s: float | None = None,
    ) -> T | None: ...

    async def get_or_load(
        self,
        key: str,
        *,
        ttl_s: float,
        type: type[T],
        load: Callable[[], Awaitable[T | None]],
        negative_ttl_s: float | None = None,
    ) -> T | None:
        """The value of `key`, from the cache or else from `load`, which runs once for all who ask at the same time.

        `load`'s None is cached only with a `negative_ttl_s`. What `load` raises goes to everybody who waits, and is not
        cached. A ttl is shortened by up to a tenth at random, so that keys filled together do not expire together.
        """
        value, mark = await self._look_up(key, type)
        if value is not _MISS:
            return cast("T | None", value)
        flight = self._flights.get((key, mark))
        if flight is None:
            flight = asyncio.create_task(self._fill(key, mark, ttl_s, negative_ttl_s, load), name=f"cache {key}")
            self._flights[key, mark] = flight
            flight.add_done_callback(lambda done: self._land(key, mark, done))
        # A task of its own, shielded: a caller that goes away must not take the load from those who wait for it.
        return cast("T | None", await asyncio.shield(flight))

    async def invalidate(self, *keys: str) -> None:
        """Forget `keys`, also what a load running now would still store. Call it after the commit."""
        for known in [*self._flights]:
            if known[0] in keys:
                del self._flights[known]
        if self._shelf is not None and keys:
            await self._shelf.forget(keys)

    def invalidate_soon(self, *keys: str) -> None:
        """`invalidate` from a plain callable, such as `tx.after_commit` takes; `close` waits for it."""
        task = asyncio.get_running_loop().create_task(self.invalidate(*keys))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def ping(self) -> None:
        """Return if Valkey answers, or there is none.

        Raises:
            Unavailable: `cache-unavailable`: it does not, or not within the time-out.
        """
        if self._shelf is not None and not await self._shelf.ping():
            raise Unavailable("cache-unavailable", "Valkey does not answer.")

    async def close(self) -> None:
        """Finish what is under way, for at most a second, and disconnect."""
        under_way = [*self._background, *self._flights.values()]
        if under_way:
            await asyncio.wait(under_way, timeout=CLOSE_TIMEOUT_S)
        if self._shelf is not None:
            await self._shelf.close()

    async def _look_up(self, key: str, type: Any) -> tuple[Any, bytes | None]:
        """The value, or `_MISS`, and the mark it stands under; None where that is not known."""
        found = "miss" if self._shelf is None else await self._shelf.read(key)
        if isinstance(found, str):
            self._count[found]()
            return _MISS, None
        if found.raw is not None:
            try:
                value = _decoder(type).decode(found.raw)
            except msgspec.DecodeError:
                # Written by a version of the service with another shape of this type; ours will replace it.
                pass
            else:
                self._count["hit"]()
                return value, found.mark
        self._count["miss"]()
        return _MISS, found.mark

    async def _fill(
        self,
        key: str,
        mark: bytes | None,
        ttl_s: float,
        negative_ttl_s: float | None,
        load: Callable[[], Awaitable[Any]],
    ) -> Any:
        started_s = time.monotonic()
        # Others wait for this load too: the deadline of whoever came first is not theirs.
        with request_scope.without_deadline():
            value = await load()
        life_s = ttl_s if value is not None else negative_ttl_s
        timely = time.monotonic() - started_s <= self._max_load_s
        invalidated = self._flights.get((key, mark)) is not asyncio.current_task()
        if self._shelf is not None and mark is not None and life_s is not None and timely and not invalidated:
            await self._shelf.store(key, mark, _encode(value), life_s * random.uniform(1 - TTL_JITTER, 1))
        return value

    def _land(self, key: str, mark: bytes | None, flight: asyncio.Task[Any]) -> None:
        if self._flights.get((key, mark)) is flight:
            del self._flights[key, mark]
        if not flight.cancelled():
            # Looked at, so that a failure nobody waits for any more is not reported as never retrieved.
            flight.exception()


@lru_cache(maxsize=256)
def _decoder(type: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(type | None)
