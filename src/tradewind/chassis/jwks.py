"""The platform's public keys, fetched by URL, kept while the URL is away, and fetched anew for an unknown `kid`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

import aiohttp
import msgspec
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from tradewind.chassis.answers import read_answer
from tradewind.chassis.logs import get_logger

FETCH_TIMEOUT_S = 2.0
MAX_AGE_S = 60.0
MIN_INTERVAL_S = 1.0
MAX_DOCUMENT_BYTES = 64 * 1024
MAX_KEYS = 32
MAX_KID_CHARS = 128

log = get_logger(__name__)


class KeySetUnavailable(Exception):
    """The keys could not be fetched, and what we hold cannot tell whether the wanted key exists."""


class KeySource(Protocol):
    """Where a JSON Web Key Set (RFC 7517) comes from."""

    async def fetch(self) -> bytes:
        """The set as JSON. Raises KeySetUnavailable: it cannot be had now."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class KeyUrl:
    """A key set served at an URL."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self) -> bytes:
        """GET it, in at most 2 s; raises KeySetUnavailable for anything but a 2xx."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=FETCH_TIMEOUT_S))
        try:
            async with self._session.get(self._url, allow_redirects=False, raise_for_status=True) as answer:
                return await read_answer(answer, MAX_DOCUMENT_BYTES)
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise KeySetUnavailable(f"{self._url}: {str(exc) or 'timed out'}") from exc

    async def close(self) -> None:
        """Close the connection."""
        if self._session is not None:
            await self._session.close()


class KeySet:
    """ES256 keys by `kid`.

    Refreshed in the background once a minute of use, so that a key taken back is forgotten, and at once for an unknown
    `kid`; at most once a second either way, and by one fetch at a time, whatever tokens are thrown at us.
    """

    def __init__(
        self, source: KeySource, *, on_change: Callable[[], None], monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        """`on_change` is told whenever the published set is another than before."""
        self._source = source
        self._on_change = on_change
        self._monotonic_s = monotonic_s
        self._keys: dict[str, PyJWK] = {}
        self._published: list[dict[str, object]] = []
        self._fetch: asyncio.Task[None] | None = None
        self._fetched_s = float("-inf")
        self._tried_s = float("-inf")

    async def find(self, kid: str) -> PyJWK | None:
        """The key `kid`, or None when the platform has no such key.

        Raises:
            KeySetUnavailable: the key is unknown and the last attempt to ask for it failed.
        """
        now_s = self._monotonic_s()
        key = self._keys.get(kid)
        if key is not None:
            if now_s - self._fetched_s > MAX_AGE_S and now_s - self._tried_s > MIN_INTERVAL_S:
                self._refresh()
            return key
        if len(kid) > MAX_KID_CHARS:
            return None
        if self._fetch is not None or now_s - self._tried_s >= MIN_INTERVAL_S:
            # Shielded: a caller that goes away must not take the fetch from the others that wait for it.
            await asyncio.shield(self._refresh())
        if self._fetched_s < self._tried_s:
            raise KeySetUnavailable(f"the last attempt to look for key {kid!r} failed")
        return self._keys.get(kid)

    async def close(self) -> None:
        """Stop a running fetch and close the source."""
        if self._fetch is not None:
            self._fetch.cancel()
            await asyncio.wait([self._fetch])
        await self._source.close()

    def _refresh(self) -> asyncio.Task[None]:
        if self._fetch is None:
            self._tried_s = self._monotonic_s()
            self._fetch = asyncio.create_task(self._load(), name="jwks")
            self._fetch.add_done_callback(self._done)
        return self._fetch

    def _done(self, _task: asyncio.Task[None]) -> None:
        self._fetch = None

    async def _load(self) -> None:
        try:
            published = msgspec.json.decode(await self._source.fetch(), type=_Document).keys[:MAX_KEYS]
        except (KeySetUnavailable, msgspec.DecodeError) as exc:
            log.warning("the key set could not be fetched", error=str(exc))
            return
        keys = _usable(published)
        if not keys:
            # An empty set is a fault of the server, not a revocation of everything.
            log.warning("the key set holds no usable key", keys=len(published))
            return
        self._fetched_s = self._tried_s
        if published != self._published:
            self._published = published
            self._keys = keys
            self._on_change()


class _Document(msgspec.Struct):
    keys: list[dict[str, object]]


def _usable(published: list[dict[str, object]]) -> dict[str, PyJWK]:
    """The ES256 keys of a set. Others are left out: a newer auth-service may publish kinds we do not know."""
    keys: dict[str, PyJWK] = {}
    for item in published:
        kid = item.get("kid")
        if not isinstance(kid, str) or item.get("kty") != "EC" or item.get("crv") != "P-256" or "d" in item:
            continue
        try:
            keys[kid] = PyJWK(item, algorithm="ES256")
        except PyJWTError:
            continue
    return keys
