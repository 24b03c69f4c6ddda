"""The instance's side of the registry: announce, keep the lease, announce again when told to, take back.

A registry that is away costs nothing but time: the service goes on, Envoy goes on with what it last heard, and the
registrar tries until it is heard again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from tradewind.chassis.alongside import end, growing_pauses
from tradewind.chassis.logs import get_logger
from tradewind.mesh.description import Lease
from tradewind.mesh.registries.own_address import address_towards

REQUEST_TIMEOUT_S = 5.0
DEREGISTER_TIMEOUT_S = 3.0
"""The registry itself waits at most 2 s for the Envoys."""
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
HEARTBEATS_PER_LEASE = 3

_log = get_logger(__name__)


class LocalRegistrar:
    """Keeps one instance registered at `registry_url`. `token` is the room's identity."""

    def __init__(self, registry_url: str, token: str) -> None:
        self._url = registry_url.rstrip("/")
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        self._session: aiohttp.ClientSession | None = None
        self._heart: asyncio.Task[None] | None = None
        self._instance = ""

    async def register(self, description: Mapping[str, Any]) -> None:
        """Return once the registry knows the instance; from then on the lease is kept in the background.

        `description` is the body of `POST /v1/instances`; where its address is "every interface" (0.0.0.0, ::), as in
        a container, the one from which the registry is reached takes its place. A refusal (wrong token, wrong name) is
        logged and tried again like an absence: it may be the registry that is being set right.
        """
        self._instance = str(description["instance"])
        self._session = aiohttp.ClientSession(
            headers=self._headers, timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
        )
        lease = await self._announce(self._session, description)
        self._heart = asyncio.create_task(self._beat(self._session, description, lease), name="registrar")

    async def deregister(self) -> None:
        """Return once no Envoy sends this instance requests any more, after 3 s at most. Never raises."""
        if self._heart is not None:
            await end(self._heart)
        if self._session is None:
            return
        try:
            url = f"{self._url}/v1/instances/{self._instance}"
            async with self._session.delete(url, timeout=aiohttp.ClientTimeout(total=DEREGISTER_TIMEOUT_S)) as answer:
                if answer.status not in (204, 404):
                    _log.warning("the registry refused the farewell", status=answer.status)
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            _log.warning("the registry was away at the farewell", error=_said(exc))
        finally:
            with contextlib.suppress(Exception):
                await self._session.close()
            self._session = None

    async def _announce(self, session: aiohttp.ClientSession, description: Mapping[str, Any]) -> Lease:
        pauses = growing_pauses(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while True:
            try:
                body = msgspec.json.encode({**description, "address": await self._reachable(description["address"])})
                async with session.post(f"{self._url}/v1/instances", data=body) as answer:
                    said = await answer.read()
                    if answer.status == 201:
                        return msgspec.json.decode(said, type=Lease)
                    _log.warning(
                        "the registry refused us", status=answer.status, answer=said[:500].decode(errors="replace")
                    )
            except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError) as exc:
                _log.warning("the registry is away", error=_said(exc))
            await asyncio.sleep(next(pauses))

    async def _reachable(self, address: str) -> str:
        registry = urlsplit(self._url)
        return await address_towards(address, registry.hostname or "", registry.port or 80)

    async def _beat(self, session: aiohttp.ClientSession, description: Mapping[str, Any], lease: Lease) -> None:
        while True:
            await asyncio.sleep(lease.lease_s / HEARTBEATS_PER_LEASE)
            if not await self._renewed(session, lease):
                _log.info("registering again", instance_name=self._instance)
                lease = await self._announce(session, description)

    async def _renewed(self, session: aiohttp.ClientSession, lease: Lease) -> bool:
        """False when the lease is gone. An absent registry has not ended it: it may only be restarting."""
        url = f"{self._url}/v1/instances/{self._instance}/lease"
        try:
            async with session.put(url, data=msgspec.json.encode({"lease_id": lease.lease_id})) as answer:
                if answer.status not in (204, 404):
                    _log.warning("the registry refused a heartbeat", status=answer.status)
                return answer.status != 404
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            _log.warning("the registry is away", error=_said(exc))
            return True


def _said(exc: BaseException) -> str:
    return str(exc) or type(exc).__name__
