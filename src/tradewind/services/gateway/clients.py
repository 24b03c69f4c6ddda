"""Whom the gateway asks: auth-service, for its public keys."""

from __future__ import annotations

import aiohttp
import msgspec

from tradewind.chassis.answers import read_answer
from tradewind.chassis.errors import Unavailable
from tradewind.mesh.description import Instance

JWKS_PATH = "/.well-known/jwks.json"
TIMEOUT_S = 2.0
MAX_BYTES = 64 * 1024


class KeySource:
    """Asks an instance directly, not through Envoy: Envoy needs the keys to come up."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, instance: Instance) -> object:
        """The key set that `instance` serves, as JSON.

        Raises:
            Unavailable: it did not answer, or not with JSON.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
        host = f"[{instance.address}]" if ":" in instance.address else instance.address
        url = f"http://{host}:{instance.port}{JWKS_PATH}"
        try:
            async with self._session.get(url, allow_redirects=False, raise_for_status=True) as answer:
                return msgspec.json.decode(await read_answer(answer, MAX_BYTES))
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError) as exc:
            raise Unavailable("keys-unavailable", str(exc) or type(exc).__name__) from exc

    async def close(self) -> None:
        """Close the connection."""
        if self._session is not None:
            await self._session.close()
