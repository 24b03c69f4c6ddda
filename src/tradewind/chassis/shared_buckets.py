"""Token buckets that several processes share, in Valkey: who takes from one takes from all.

Never in the way of a request for long: a take that does not come back in `TIMEOUT_S` counts as none, and from then on
nobody asks until `watch`, once a second, has found Valkey well again. What to do meanwhile is the caller's decision.
"""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
from valkey.asyncio import BlockingConnectionPool, Valkey
from valkey.asyncio.retry import Retry
from valkey.backoff import NoBackoff
from valkey.exceptions import ValkeyError

from tradewind.chassis.logs import get_logger
from tradewind.chassis.settings import Secret

TIMEOUT_S = 0.05
WATCH_EVERY_S = 1.0
MAX_CONNECTIONS = 16

# KEYS: the bucket. ARGV: tokens a second, most tokens. The clock is Valkey's, the one thing that all who ask share.
# Returns whether one was taken, how many are left, and the milliseconds until the next.
_TAKE = """
local per_s, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = tonumber(held[1]) or most
local at = tonumber(held[2]) or now
tokens = math.min(most, tokens + math.max(0, now - at) * per_s / 1000)
local taken = 0
if tokens >= 1 then
    tokens = tokens - 1
    taken = 1
end
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', tostring(now))
redis.call('PEXPIRE', KEYS[1], math.ceil(most / per_s * 1000) + 1000)
return {taken, math.floor(tokens), math.ceil(math.max(0, 1 - tokens) / per_s * 1000)}
"""

_log = get_logger("shared-buckets")


class Take(msgspec.Struct, frozen=True, kw_only=True):
    """What came of asking: whether a token was taken, how many are left, and when the next one comes."""

    taken: bool
    left: int
    next_in_s: float


class SharedBuckets:
    """The buckets under one prefix at `url` (`redis://`, `rediss://`). Nothing here raises when Valkey is slow or away."""

    def __init__(self, url: Secret, prefix: str, *, timeout_s: float = TIMEOUT_S) -> None:
        pool = BlockingConnectionPool.from_url(
            url.reveal(), protocol=2, max_connections=MAX_CONNECTIONS, timeout=timeout_s,
            retry=Retry(NoBackoff(), 0), lib_name=None, lib_version=None,
        )  # fmt: skip
        self._client = Valkey.from_pool(pool)
        self._take = self._client.register_script(_TAKE)
        self._prefix = prefix
        self._timeout_s = timeout_s
        self.away = "not asked yet"
        """Why Valkey is not asked now; empty when it is."""

    async def take(self, bucket: str, *, per_s: float, most: int) -> Take | None:
        """Take one token of `bucket`, which holds `most` and gets `per_s`; None while Valkey is away."""
        if self.away:
            return None
        try:
            async with asyncio.timeout(self._timeout_s):
                taken, left, next_ms = await self._take(keys=[f"tradewind:{self._prefix}:{bucket}"], args=[per_s, most])
        except (ValkeyError, OSError, TimeoutError) as exc:
            self._leave(exc)
            return None
        return Take(taken=bool(taken), left=int(left), next_in_s=int(next_ms) / 1000)

    async def watch(self) -> None:
        """Find out whether Valkey is well; to be called every `WATCH_EVERY_S`."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._client.ping()
        except (ValkeyError, OSError, TimeoutError) as exc:
            self._leave(exc)
            return
        if self.away:
            self.away = ""
            _log.info("limits are shared again", prefix=self._prefix)

    async def close(self) -> None:
        """Disconnect."""
        with contextlib.suppress(ValkeyError, OSError):
            await self._client.aclose()

    def _leave(self, reason: BaseException) -> None:
        text = "timed out" if isinstance(reason, TimeoutError) else str(reason) or type(reason).__name__
        if not self.away or self.away == "not asked yet":
            _log.warning("limits are local: valkey does not answer", prefix=self._prefix, error=text)
        self.away = text
