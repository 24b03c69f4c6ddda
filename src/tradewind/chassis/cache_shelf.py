"""Where cached values lie: Valkey, asked briefly, left alone while it fails, and never trusted with an old value.

An invalidation may race with a load: the load reads the old row, the writer commits and invalidates, and then the load
stores what it read. So every key has a mark beside it. To forget a key is to delete its value and to set its mark to a
new random one; a value is stored only if the mark is still the one seen before its row was read (one script, so
atomically). A mark outlives the longest load that may store (`MARK_TTL_S` > `cache.MAX_LOAD_S`), and then may go.

What could not be delivered is remembered: meanwhile the key is not read from here, and once Valkey is back it is told.
Only if this process dies before that, or Valkey, short of memory, throws a mark away, does an old value live on, and
then only to the end of its ttl.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Literal, TypeAlias

import msgspec
from valkey.asyncio import Valkey
from valkey.asyncio.retry import Retry
from valkey.backoff import NoBackoff
from valkey.exceptions import ValkeyError

from tradewind.chassis.logs import get_logger
from tradewind.chassis.trace import span

TIMEOUT_S = 0.05
SKIP_S = 1.0
TIMEOUTS_IN_A_ROW = 3
MAX_CONNECTIONS = 16
MAX_VALUE_BYTES = 512 * 1024
MARK_TTL_S = 60.0
MAX_OWED = 1_000

# KEYS: value, mark. ARGV: the mark seen before the load ("" for none), the value, its ttl in ms.
_STORE = """
local mark = redis.call('GET', KEYS[2]) or ''
if mark ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""

# KEYS: mark and value, of each key to forget. ARGV: the new mark, its ttl in ms.
_FORGET = """
for i = 1, #KEYS, 2 do
    redis.call('SET', KEYS[i], ARGV[1], 'PX', ARGV[2])
    redis.call('DEL', KEYS[i + 1])
end
return 1
"""

log = get_logger(__name__)


class Found(msgspec.Struct, frozen=True):
    """What lies under a key: the value's bytes, if any, and the mark (`b""` for none)."""

    raw: bytes | None
    mark: bytes


NotAsked: TypeAlias = Literal["skipped", "error"]


class Shelf:
    """The values under one prefix. Nothing here raises when Valkey is slow, wrong or away."""

    def __init__(self, url: str, prefix: str, timeout_s: float = TIMEOUT_S) -> None:
        """`url` is `redis://` or `rediss://` (TLS). Connects on first use."""
        self._client = Valkey.from_url(
            url,
            protocol=2,
            max_connections=MAX_CONNECTIONS,
            retry=Retry(NoBackoff(), 0),
            lib_name=None,
            lib_version=None,
        )
        self._store = self._client.register_script(_STORE)
        self._forget = self._client.register_script(_FORGET)
        self._prefix = prefix
        self._timeout_s = timeout_s
        self._connections = asyncio.Semaphore(MAX_CONNECTIONS)
        self._skip_until_s = 0.0
        self._timed_out = 0
        # Keys that Valkey was not told to forget yet, each with a stamp of the latest wish.
        self._owed: dict[str, object] = {}
        self._settling = False

    async def ping(self) -> bool:
        """Whether it answers; the log says it when it does not. Asks also while Valkey is left alone."""
        return await self._ask("connect", self._client.ping) is not None

    async def read(self, key: str) -> Found | NotAsked:
        """What lies under `key`; `skipped` when Valkey is not to be asked now, `error` when it did not answer."""
        if not self._usable():
            return "skipped"
        if self._owed and not self._settling:
            await self._settle(self._owed)
        if key in self._owed:
            return "skipped"
        answer = await self._ask("get", partial(self._client.mget, self._value_key(key), self._mark_key(key)))
        if answer is None:
            return "error"
        raw, mark = answer
        return Found(raw, mark or b"")

    async def store(self, key: str, mark: bytes, raw: bytes, ttl_s: float) -> None:
        """Put a value under `key`, unless the key was forgotten since `mark` was read, or it is too large."""
        if self._usable() and key not in self._owed and len(raw) <= MAX_VALUE_BYTES:
            keys = [self._value_key(key), self._mark_key(key)]
            await self._ask("store", partial(self._store, keys=keys, args=[mark, raw, max(1, int(ttl_s * 1000))]))

    async def forget(self, keys: Iterable[str]) -> None:
        """Delete the values of `keys`, for every process and also for loads under way; later if not now."""
        keys = tuple(keys)
        for key in keys:
            if len(self._owed) >= MAX_OWED and key not in self._owed:
                del self._owed[next(iter(self._owed))]
            self._owed[key] = object()
        if self._usable():
            await self._settle(keys)

    async def close(self) -> None:
        """Disconnect."""
        with contextlib.suppress(ValkeyError, OSError):
            await self._client.aclose()

    async def _settle(self, keys: Iterable[str]) -> None:
        owed = {key: self._owed[key] for key in keys if key in self._owed}
        if not owed:
            return
        both = [name for key in owed for name in (self._mark_key(key), self._value_key(key))]
        command = partial(self._forget, keys=both, args=[secrets.token_bytes(8), int(MARK_TTL_S * 1000)])
        self._settling = True
        try:
            # One command, where a transaction would be two for each key and two more.
            delivered = await self._ask("forget", command) is not None
        finally:
            self._settling = False
        if delivered:
            for key, stamp in owed.items():
                # A later wish to forget the same key stays owed until its own delivery.
                if self._owed.get(key) is stamp:
                    del self._owed[key]

    async def _ask(self, operation: str, command: Callable[[], Awaitable[Any]]) -> Any:
        """The answer, or None after a failure.

        Valkey is left alone for a second after an error, or after three time-outs in a row: a single one may be a stall
        of our own event loop.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._connections.acquire()
        except TimeoutError:
            # We ask more than our connections can carry. That is no fault of Valkey's, and leaving it alone would turn
            # a burst into a stampede.
            return None
        try:
            with span(f"cache {operation}", kind="client", attributes={"db.system.name": "redis"}):
                async with asyncio.timeout(self._timeout_s):
                    answer = await command()
        except TimeoutError:
            self._timed_out += 1
            if self._timed_out >= TIMEOUTS_IN_A_ROW:
                self._skip(operation, "timed out")
            return None
        except (ValkeyError, OSError) as exc:
            self._skip(operation, str(exc) or type(exc).__name__)
            return None
        finally:
            self._connections.release()
        self._timed_out = 0
        return answer

    def _skip(self, operation: str, reason: str) -> None:
        if self._usable():
            log.warning("the cache is skipped for a second", operation=operation, error=reason)
        self._timed_out = 0
        self._skip_until_s = time.monotonic() + SKIP_S

    def _usable(self) -> bool:
        return time.monotonic() >= self._skip_until_s

    # The braces make both keys fall into one slot of a cluster, which the script and the transaction need.
    def _value_key(self, key: str) -> str:
        return f"tradewind:{self._prefix}:{{{key}}}"

    def _mark_key(self, key: str) -> str:
        return f"tradewind:{self._prefix}:{{{key}}}:mark"
