"""An instance's way into the DNS, which others write: nothing to do to come in, and patience to leave."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from tradewind.chassis.logs import get_logger
from tradewind.mesh.registries.dns_names import Names, NamesAway
from tradewind.mesh.registries.own_address import address_towards

LOOK_EVERY_S = 0.25
LEAVE_WITHIN_S = 15.0
"""Half of the time Kubernetes gives a pod to end; the rest is for the requests under way."""
CACHES = 2
"""An answer may be kept for its TTL twice: by a server on the way, and by Envoy."""
SPREAD_S = 0.5

_log = get_logger(__name__)


class DnsRegistrar:
    """Waits at the end until nobody is told of this instance any more. Readiness is what puts it into the DNS (Kubernetes)."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._service = ""
        self._address = ""

    async def register(self, description: Mapping[str, Any]) -> None:
        """Keep what is needed to leave. The control plane asks the instance itself for its routes."""
        self._service, self._address = str(description["service"]), str(description["address"])

    async def deregister(self) -> None:
        """Return once the name does not have our address any more and the last answer that had it is too old; after 15 s at most."""
        ends_s = time.monotonic() + LEAVE_WITHIN_S
        ttl_s = 1.0
        while time.monotonic() < ends_s:
            try:
                own = await address_towards(self._address, *(self._names.server or ("127.0.0.1", 53)))
                found = await self._names.find(self._service)
            except (NamesAway, OSError) as exc:
                _log.warning("the dns is away at the farewell", error=str(exc))
                return
            if own not in found.addresses:
                await asyncio.sleep(min(CACHES * ttl_s + SPREAD_S, max(0.0, ends_s - time.monotonic())))
                return
            ttl_s = max(ttl_s, found.ttl_s)
            await asyncio.sleep(LOOK_EVERY_S)
        _log.warning("the dns still has this instance", address=self._address)
