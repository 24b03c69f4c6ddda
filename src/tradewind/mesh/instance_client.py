"""Asking one instance directly, past Envoy: for what Envoy itself needs in order to come up."""

from __future__ import annotations

import aiohttp
import msgspec

from tradewind.chassis.answers import read_answer
from tradewind.mesh.description import Instance
from tradewind.mesh.proxy_identity import ProxyIdentity

TIMEOUT_S = 2.0
MAX_BYTES = 64 * 1024


class InstanceAway(Exception):
    """The instance did not answer, or not with JSON."""


class InstanceClient:
    """GET requests to instances of services, by address and port."""

    def __init__(self, identity: ProxyIdentity | None = None) -> None:
        """With `identity` it speaks mutual TLS, as the proxy does."""
        self._identity = identity
        self._session: aiohttp.ClientSession | None = None

    async def get(self, instance: Instance, path: str) -> object:
        """The JSON that `instance` serves at `path`.

        Raises:
            InstanceAway: no answer within 2 s, another status than 200, no JSON, or more than 64 KiB of it.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
        host = f"[{instance.address}]" if ":" in instance.address else instance.address
        tls = self._identity and self._identity.towards(instance.room).client
        url = f"{'https' if tls else 'http'}://{host}:{instance.port}{path}"
        try:
            async with self._session.get(url, allow_redirects=False, raise_for_status=True, ssl=tls or True) as answer:
                return msgspec.json.decode(await read_answer(answer, MAX_BYTES))
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError) as exc:
            raise InstanceAway(str(exc) or type(exc).__name__) from exc

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
