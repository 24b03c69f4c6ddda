"""The `local` registry: instances announce themselves to this process and stay known while their lease runs.

Everything known is also on disk, so that a control plane that restarts goes on serving the last known endpoints and
routes: restored instances get a fresh term to renew or re-register in.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping

import msgspec

from tradewind.chassis.alongside import alongside
from tradewind.chassis.logs import get_logger
from tradewind.mesh.description import Instance, Lease, Registration
from tradewind.mesh.discovery import KnownService, Standing
from tradewind.mesh.registries.remembered import Remembered
from tradewind.mesh.state_file import StateFile

LEASE_S = 10.0
SWEEP_EVERY_S = 0.5
OWN_PAUSE_S = 3.0
"""A sweep this late means that we slept, not that the others died: a frozen registry must not blame its tenants."""
MAX_INSTANCES = 1_000

_log = get_logger(__name__)


class LeaseUnknown(Exception):
    """The lease ran out, was replaced, or never was: the instance has to register again."""


class RegistryFull(Exception):
    """No further instance fits; see `MAX_INSTANCES`."""


class _Tenancy(msgspec.Struct):
    instance: Instance
    lease_id: str
    expires_s: float


class LocalRegistry:
    """Instances with leases, kept in memory and on disk. Use it from one event loop; it takes no lock."""

    def __init__(
        self, file: StateFile, *, lease_s: float = LEASE_S, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._lease_s = lease_s
        self._monotonic_s = monotonic_s
        self._tenancies: dict[str, _Tenancy] = {}
        self._remembered = Remembered(file, self.instances)
        self._swept_s = monotonic_s()
        expires_s = self._swept_s + lease_s
        for instance in self._remembered.restore():
            # No lease id is kept: the instance's next heartbeat is refused, and so it registers again, with what it
            # serves now.
            self._tenancies[instance.instance] = _Tenancy(instance, secrets.token_hex(8), expires_s)

    def services(self) -> Mapping[str, KnownService]:
        """All services that ever registered, by name."""
        instances: dict[str, list[Instance]] = {}
        for tenancy in self._tenancies.values():
            instances.setdefault(tenancy.instance.service, []).append(tenancy.instance)
        return self._remembered.services(instances)

    def instances(self) -> list[Instance]:
        """All instances whose lease runs, by name."""
        return [self._tenancies[name].instance for name in sorted(self._tenancies)]

    def find(self, name: str) -> Instance | None:
        """The instance called `name`, if its lease runs."""
        tenancy = self._tenancies.get(name)
        return None if tenancy is None else tenancy.instance

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every change of what `services` returns."""
        self._remembered.on_change(listener)

    def standing(self) -> Standing:
        """It is this process, and so it answers."""
        return Standing(kind="local", answers=True)

    def register(self, registration: Registration) -> Lease:
        """Take an instance in, or replace what it said before, and begin a new lease.

        Raises:
            RegistryFull: there are too many instances.
        """
        instance = registration.described()
        if instance.instance not in self._tenancies and len(self._tenancies) >= MAX_INSTANCES:
            raise RegistryFull(f"{MAX_INSTANCES} instances are registered")
        tenancy = _Tenancy(instance, secrets.token_hex(8), self._monotonic_s() + self._lease_s)
        self._tenancies[instance.instance] = tenancy
        self._remembered.keep(instance.service, instance.routes, registration.openapi)
        self._remembered.changed()
        return Lease(self._lease_s, tenancy.lease_id)

    def renew(self, name: str, lease_id: str) -> None:
        """Begin the term of a lease anew.

        Raises:
            LeaseUnknown: this instance has no such lease (any more).
        """
        tenancy = self._tenancies.get(name)
        if tenancy is None or not secrets.compare_digest(tenancy.lease_id.encode(), lease_id.encode()):
            raise LeaseUnknown(name)
        tenancy.expires_s = self._monotonic_s() + self._lease_s

    def deregister(self, name: str) -> bool:
        """Forget an instance; False when it was not known."""
        if self._tenancies.pop(name, None) is None:
            return False
        self._remembered.changed()
        return True

    def sweep(self) -> list[str]:
        """End the leases that ran out, and name their instances."""
        now_s = self._monotonic_s()
        slept = now_s - self._swept_s > OWN_PAUSE_S
        self._swept_s = now_s
        if slept:
            for tenancy in self._tenancies.values():
                tenancy.expires_s = max(tenancy.expires_s, now_s + self._lease_s)
            return []
        ended = [name for name, tenancy in self._tenancies.items() if tenancy.expires_s < now_s]
        for name in ended:
            del self._tenancies[name]
        if ended:
            _log.warning("leases ended", instances=ended)
            self._remembered.changed()
        return ended

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sweep and save in the background; everything is on disk when it is left."""
        self._swept_s = self._monotonic_s()
        async with (
            self._remembered.saving(),
            alongside(asyncio.create_task(self._keep_sweeping(), name="registry sweep")),
        ):
            yield

    async def _keep_sweeping(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            self.sweep()
