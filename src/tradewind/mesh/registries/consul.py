"""The `consul` registry: who passes all checks in Consul, heard by blocking queries.

What Consul says is believed when it was heard without a gap. After an absence of the agent, or a restore, an instance that
is missing may only not have registered again yet: it stays for one term (`TERM_S`), and Envoy's outlier detection sees to it
meanwhile. With Consul away nothing changes at all, also over a restart of the control plane.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import msgspec

from tradewind.chassis.alongside import end
from tradewind.chassis.consul import Consul, ConsulKv, ConsulProblem, Seen
from tradewind.chassis.logs import get_logger
from tradewind.mesh.description import Instance
from tradewind.mesh.discovery import KnownService, Standing
from tradewind.mesh.identity import RoomIdentities
from tradewind.mesh.registries.consul_record import (
    PREFIX,
    TAG,
    TTL_S,
    Described,
    Entry,
    RecordWrong,
    Service,
    digest_in,
    instance_in,
    read_description,
    require_genuine,
)
from tradewind.mesh.registries.known import KnownServices
from tradewind.mesh.state_file import StateFile

TERM_S = TTL_S * 1.5
SWEEP_EVERY_S = 0.5
AGAIN_S = 0.5
MAX_SERVICES = 200
MAX_INSTANCES = 1_000
"""Of one service."""
MAX_DESCRIPTIONS = 256

_log = get_logger(__name__)


class ConsulRegistry:
    """Follows a Consul agent. Use it from one event loop."""

    kind = "consul"

    def __init__(
        self,
        consul: Consul,
        identities: RoomIdentities,
        file: StateFile,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._consul = consul
        self._kv = ConsulKv(consul, PREFIX)
        self._identities = identities
        self._known = KnownServices(file)
        self._monotonic_s = monotonic_s
        self._described: dict[str, Described] = {}
        self._missing: dict[str, dict[str, float]] = {}
        """Service -> instance -> until when it is kept though Consul does not list it."""
        self._listed: dict[str, set[str]] = {}
        self._refused: dict[str, str] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def services(self) -> Mapping[str, KnownService]:
        """All services that were ever seen, by name."""
        return self._known.services()

    def instances(self) -> list[Instance]:
        """All instances that get requests, by name."""
        return self._known.instances()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every change of what `services` returns."""
        self._known.on_change(listener)

    def standing(self) -> Standing:
        """Which registry this is, whether it answers, and whom it names without proof."""
        return Standing(
            kind=self.kind,
            address=self._consul.address.base_url,
            answers=self._consul.answers,
            problem=self._consul.problem,
            refused=tuple(sorted(self._refused.values())),
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow Consul while the context lasts."""
        async with self._known.saving():
            for service in self._known.services():
                self._follow(service)
            for name, work in (("catalog", self._follow_catalog()), ("sweep", self._keep_sweeping())):
                self._tasks[f"/{name}"] = asyncio.create_task(work, name=f"consul {name}")
            try:
                yield
            finally:
                await end(*self._tasks.values())
                await self._consul.close()

    async def _follow_catalog(self) -> None:
        async for seen in self._consul.watch("/v1/catalog/services"):
            try:
                tags = msgspec.json.decode(seen.body, type=dict[str, list[str]])
            except msgspec.MsgspecError as exc:
                _log.error("consul's list of services is unreadable", error=str(exc))
                continue
            for name in sorted(name for name, with_tags in tags.items() if TAG in with_tags):
                self._follow(name)

    def _follow(self, service: str) -> None:
        if service in self._tasks:
            return
        if len(self._tasks) > MAX_SERVICES:
            _log.error("a service is not followed: there are too many", service=service, most=MAX_SERVICES)
            return
        self._tasks[service] = asyncio.create_task(self._follow_service(service), name=f"consul {service}")

    async def _follow_service(self, service: str) -> None:
        async for seen in self._consul.watch(f"/v1/health/service/{service}"):
            try:
                entries = msgspec.json.decode(seen.body, type=list[Entry])
            except msgspec.MsgspecError as exc:
                _log.error("consul's list of instances is unreadable", service=service, error=str(exc))
                continue
            await self._take(service, entries, seen)

    async def _take(self, service: str, entries: list[Entry], seen: Seen) -> None:
        found: dict[str, Instance] = {}
        document: dict[str, Any] | None = None
        refused: dict[str, str] = {}
        for entry in (entry for entry in entries[:MAX_INSTANCES] if entry.passes):
            try:
                require_genuine(entry.service, self._identities.token_of(service.removesuffix("-service")))
                described = await self._description(entry.service)
                found[entry.service.id] = instance_in(entry.service, described)
                document = described.openapi
            except RecordWrong as exc:
                refused[f"{service}/{entry.service.id}"] = str(exc)
        self._note_refused(service, refused)
        now_s = self._monotonic_s()
        missing = self._missing.setdefault(service, {})
        listed = {entry.service.id for entry in entries}
        if seen.continuous:
            # Listed a moment ago, if only as critical, and not any more: that is a farewell.
            for name in self._listed.get(service, set()) - listed:
                missing.pop(name, None)
        else:
            missing.update({each.instance: now_s + TERM_S for each in self._known.of(service)})
        self._listed[service] = listed
        kept = {each.instance: each for each in self._known.of(service) if missing.get(each.instance, 0.0) > now_s}
        self._missing[service] = {
            name: until_s for name, until_s in missing.items() if name in kept.keys() - found.keys()
        }
        self._known.note(service, (kept | found).values(), document)

    async def _description(self, service: Service) -> Described:
        """What `service` serves. Raises RecordWrong when nobody wrote it down; waits for a Consul that is away."""
        digest = digest_in(service)
        while digest not in self._described:
            try:
                entry = await self._kv.get(f"{service.service}/{digest}")
            except ConsulProblem as exc:
                _log.warning("a description cannot be read", service=service.service, error=str(exc))
                await asyncio.sleep(AGAIN_S)
                continue
            if entry is None:
                raise RecordWrong(f"{service.id}: its description {digest[:12]} is missing")
            while len(self._described) >= MAX_DESCRIPTIONS:
                del self._described[next(iter(self._described))]
            self._described[digest] = read_description(digest, entry.value)
        return self._described[digest]

    def _note_refused(self, service: str, refused: dict[str, str]) -> None:
        for key, reason in refused.items():
            if self._refused.get(key) != reason:
                _log.warning("consul names an instance that gets no requests", service=service, reason=reason)
        others = {key: reason for key, reason in self._refused.items() if not key.startswith(f"{service}/")}
        self._refused = others | refused

    async def _keep_sweeping(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            self.sweep()

    def sweep(self) -> None:
        """End the terms that ran out. While Consul is away none does: the last known endpoints serve on."""
        if not self._consul.answers:
            return
        now_s = self._monotonic_s()
        for service, missing in self._missing.items():
            ended = {name for name, until_s in missing.items() if until_s <= now_s}
            if ended:
                _log.warning("instances did not come back", instances=sorted(ended))
                self._missing[service] = {name: until_s for name, until_s in missing.items() if name not in ended}
                self._known.note(service, [each for each in self._known.of(service) if each.instance not in ended])
