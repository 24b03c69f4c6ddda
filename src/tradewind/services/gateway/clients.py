"""Whom the gateway asks: auth-service, for its public keys."""

from __future__ import annotations

from tradewind.chassis.errors import Unavailable
from tradewind.mesh.description import Instance
from tradewind.mesh.instance_client import InstanceAway, InstanceClient

JWKS_PATH = "/.well-known/jwks.json"


class KeySource:
    """The key set of an instance of auth-service. Asked directly: Envoy needs the keys to let anything through."""

    def __init__(self, instances: InstanceClient) -> None:
        self._instances = instances

    async def fetch(self, instance: Instance) -> object:
        """The key set that `instance` serves, as JSON.

        Raises:
            Unavailable: `keys-unavailable`; it did not answer, or not with JSON.
        """
        try:
            return await self._instances.get(instance, JWKS_PATH)
        except InstanceAway as exc:
            raise Unavailable("keys-unavailable", str(exc)) from exc

    async def close(self) -> None:
        """Close the connection."""
        await self._instances.close()
