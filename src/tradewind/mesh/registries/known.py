"""What a control plane knows of services whose registry is elsewhere: in memory, on disk, and told to who listens.

On disk, so that with the registry away a control plane that restarts goes on with the last known endpoints and routes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

import msgspec

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


class KnownServices:
    """Services by name, each with its instances. Use it from one event loop; it takes no lock."""

    def __init__(self, file: StateFile) -> None:
        self._file = file
        self._memories: dict[str, Memory] = {}
        self._instances: dict[str, tuple[Instance, ...]] = {}
        self._listeners: list[Callable[[], None]] = []
        self._unsaved = asyncio.Event()
        self._restore()

    def services(self) -> Mapping[str, KnownService]:
        """All services that were ever heard of, by name."""
        return {
            name: KnownService(
                service=name,
                since=memory.since,
                instances=self._instances.get(name, ()),
                last_routes=memory.last_routes,
                openapi=memory.openapi,
            )
            for name, memory in self._memories.items()
        }

    def instances(self) -> list[Instance]:
        """All instances, by name."""
        return sorted((each for found in self._instances.values() for each in found), key=lambda each: each.instance)

    def of(self, service: str) -> tuple[Instance, ...]:
        """The instances of `service`, by name."""
        return self._instances.get(service, ())

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every change of what `services` returns."""
        self._listeners.append(listener)

    def note(self, service: str, instances: Iterable[Instance], openapi: Mapping[str, Any] | None = None) -> None:
        """From now on `service` has these instances; with `openapi`, this is its document."""
        found = tuple(sorted(instances, key=lambda each: each.instance))
        known = self._memories.get(service)
        if known is None and not found:
            return
        routes = found[-1].routes if found else known.last_routes if known else ()
        document = dict(openapi) if openapi is not None else known.openapi if known else {}
        since = known.since if known else max((memory.since for memory in self._memories.values()), default=0) + 1
        memory = Memory(since, routes, document)
        if memory == known and found == self._instances.get(service, ()):
            return
        self._memories[service], self._instances[service] = memory, found
        self._unsaved.set()
        for listener in self._listeners:
            listener()

    @contextlib.asynccontextmanager
    async def saving(self) -> AsyncIterator[None]:
        """Save in the background; everything is on disk when it is left."""
        task = asyncio.create_task(self._keep_saving(), name="registry file")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
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
        return msgspec.json.encode(_Saved(self._memories, self.instances()))

    def _restore(self) -> None:
        content = self._file.read()
        if content is None:
            return
        try:
            saved = msgspec.json.decode(content, type=_Saved)
        except msgspec.MsgspecError as exc:
            aside = self._file.set_aside()
            _log.error("the registry file is unreadable; starting empty", error=str(exc), kept_as=str(aside))
            return
        self._memories = saved.memories
        for instance in saved.instances:
            if instance.service in self._memories:
                self._instances[instance.service] = (*self._instances.get(instance.service, ()), instance)
