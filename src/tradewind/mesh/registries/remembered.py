"""What a control plane remembers of services, whoever keeps the registry: in memory, on disk, and told to who listens.

On disk, so that a control plane that restarts goes on with the last known endpoints and routes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import msgspec

from tradewind.chassis.alongside import alongside
from tradewind.chassis.logs import get_logger
from tradewind.mesh.description import DeclaredRoute, Instance
from tradewind.mesh.discovery import KnownService
from tradewind.mesh.state_file import StateFile

SAVE_RETRY_S = 1.0

_log = get_logger(__name__)


class Memory(msgspec.Struct):
    """What is remembered of a service beyond its instances."""

    since: int
    last_routes: tuple[DeclaredRoute, ...]
    openapi: dict[str, Any]


class _Saved(msgspec.Struct):
    memories: dict[str, Memory]
    instances: list[Instance]


class Remembered:
    """Services by name. Their instances are the registry's own affair: `instances` lists them all."""

    def __init__(self, file: StateFile, instances: Callable[[], list[Instance]]) -> None:
        self._file = file
        self._instances = instances
        self._memories: dict[str, Memory] = {}
        self._listeners: list[Callable[[], None]] = []
        self._unsaved = asyncio.Event()

    def restore(self) -> list[Instance]:
        """Take over what the file holds; returns the instances in it. One that cannot be read is set aside."""
        content = self._file.read()
        if content is None:
            return []
        try:
            saved = msgspec.json.decode(content, type=_Saved)
        except msgspec.MsgspecError as exc:
            aside = self._file.set_aside()
            _log.error("the registry file is unreadable; starting empty", error=str(exc), kept_as=str(aside))
            return []
        self._memories = saved.memories
        return [instance for instance in saved.instances if instance.service in self._memories]

    def find(self, service: str) -> Memory | None:
        """What is remembered of `service`."""
        return self._memories.get(service)

    def keep(self, service: str, routes: tuple[DeclaredRoute, ...], openapi: dict[str, Any]) -> None:
        """Remember `service` with these; one that was known keeps its rank of arrival."""
        known = self._memories.get(service)
        since = known.since if known else max((memory.since for memory in self._memories.values()), default=0) + 1
        self._memories[service] = Memory(since, routes, openapi)

    def services(self, instances: Mapping[str, Sequence[Instance]]) -> dict[str, KnownService]:
        """All services that were ever heard of, by name, with these instances."""
        return {
            name: KnownService(
                service=name,
                since=memory.since,
                instances=tuple(sorted(instances.get(name, ()), key=lambda instance: instance.instance)),
                last_routes=memory.last_routes,
                openapi=memory.openapi,
            )
            for name, memory in self._memories.items()
        }

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every change."""
        self._listeners.append(listener)

    def changed(self) -> None:
        """Something has: have it saved, and tell the listeners."""
        self._unsaved.set()
        for listener in self._listeners:
            listener()

    @contextlib.asynccontextmanager
    async def saving(self) -> AsyncIterator[None]:
        """Save in the background; everything is on disk when it is left."""
        try:
            async with alongside(asyncio.create_task(self._keep_saving(), name="registry file")):
                yield
        finally:
            self._file.write(self._content())

    async def _keep_saving(self) -> None:
        while True:
            await self._unsaved.wait()
            self._unsaved.clear()
            try:
                await asyncio.to_thread(self._file.write, self._content())
            except OSError as exc:
                _log.error("the registry could not be saved", error=str(exc))
                self._unsaved.set()
                await asyncio.sleep(SAVE_RETRY_S)

    def _content(self) -> bytes:
        return msgspec.json.encode(_Saved(self._memories, self._instances()))
