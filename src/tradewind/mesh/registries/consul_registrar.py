"""An instance's way into Consul: registered with two checks, kept alive by heartbeats, taken back at the end.

Consul away costs nothing but time: the service goes on, and registers again as soon as an agent is there that does not know it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from tradewind.chassis.alongside import end, growing_pauses
from tradewind.chassis.consul import Consul, ConsulKv, ConsulProblem, ConsulRefused
from tradewind.chassis.consul.kv import NEW
from tradewind.chassis.logs import get_logger
from tradewind.mesh.description import Registration
from tradewind.mesh.registries.consul_record import PREFIX, TTL_S, description_of, record_of, ttl_check
from tradewind.mesh.registries.own_address import address_towards

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
HEARTBEATS_PER_TTL = 4
FAREWELL_TIMEOUT_S = 3.0
SETTLE_S = 1.0
"""Consul does not tell when the proxies have heard of a farewell: milliseconds on a healthy machine. Till then we serve on."""

_log = get_logger(__name__)


class ConsulRegistrar:
    """Keeps one instance registered with a Consul agent. `token` is the room's identity; it signs, and is not sent."""

    def __init__(self, consul: Consul, token: str) -> None:
        self._consul = consul
        self._kv = ConsulKv(consul, PREFIX)
        self._token = token
        self._heart: asyncio.Task[None] | None = None
        self._instance = ""

    async def register(self, description: Mapping[str, Any]) -> None:
        """Return once Consul lists the instance; from then on heartbeats keep it listed, or register it again.

        A refusal (wrong ACL token) is logged and tried again like an absence: it may be the agent that is being set right.
        """
        registration = msgspec.convert(description, type=Registration)
        self._instance = registration.instance
        await self._announce(registration)
        self._heart = asyncio.create_task(self._beat(registration), name="registrar")

    async def deregister(self) -> None:
        """Return once Consul lists the instance no more and the proxies had time to hear of it; after 4 s at most."""
        if self._heart is not None:
            await end(self._heart)
        try:
            async with asyncio.timeout(FAREWELL_TIMEOUT_S):
                await self._consul.put(f"/v1/agent/service/deregister/{quote(self._instance)}")
            await asyncio.sleep(SETTLE_S)
        except (ConsulProblem, TimeoutError) as exc:
            _log.warning("consul did not take the farewell", error=str(exc) or type(exc).__name__)
        finally:
            await self._consul.close()

    async def _announce(self, registration: Registration) -> None:
        digest, content = description_of(registration)
        pauses = growing_pauses(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while True:
            try:
                address = await self._reachable(registration.address)
                record = record_of(msgspec.structs.replace(registration, address=address), digest, self._token)
                # First what it serves, then that it serves: whoever sees the second finds the first.
                await self._kv.put(f"{registration.service}/{digest}", content, expected=NEW)
                await self._consul.put(
                    "/v1/agent/service/register", msgspec.json.encode(record), {"replace-existing-checks": "true"}
                )
            except (ConsulProblem, OSError) as exc:
                _log.warning("not registered with consul", error=str(exc))
            else:
                return
            await asyncio.sleep(next(pauses))

    async def _reachable(self, address: str) -> str:
        agent = urlsplit(self._consul.address.base_url)
        return await address_towards(address, agent.hostname or "", agent.port or 80)

    async def _beat(self, registration: Registration) -> None:
        while True:
            await asyncio.sleep(TTL_S / HEARTBEATS_PER_TTL)
            try:
                await self._consul.put(f"/v1/agent/check/pass/{quote(ttl_check(self._instance))}")
            except ConsulRefused as exc:
                _log.info("registering again", instance_name=self._instance, because=str(exc))
                await self._announce(registration)
            except ConsulProblem as exc:
                _log.warning("consul is away", error=str(exc))
