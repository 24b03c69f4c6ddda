"""What a control plane knows of services whose registry is elsewhere. With that away, also over a restart, it stays as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from tradewind.mesh.description import Instance
from tradewind.mesh.discovery import KnownService
from tradewind.mesh.registries.remembered import Remembered
from tradewind.mesh.state_file import StateFile


class KnownServices:
    """Services by name, each with its instances. Use it from one event loop; it takes no lock."""

    def __init__(self, file: StateFile) -> None:
        self._instances: dict[str, tuple[Instance, ...]] = {}
        self._remembered = Remembered(file, self.instances)
        for instance in self._remembered.restore():
            self._instances[instance.service] = (*self.of(instance.service), instance)

    def services(self) -> Mapping[str, KnownService]:
        """All services that were ever heard of, by name."""
        return self._remembered.services(self._instances)

    def instances(self) -> list[Instance]:
        """All instances, by name."""
        return sorted((each for found in self._instances.values() for each in found), key=lambda each: each.instance)

    def of(self, service: str) -> tuple[Instance, ...]:
        """The instances of `service`, by name."""
        return self._instances.get(service, ())

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every change of what `services` returns."""
        self._remembered.on_change(listener)

    def note(self, service: str, instances: Iterable[Instance], openapi: Mapping[str, Any] | None = None) -> None:
        """From now on `service` has these instances; with `openapi`, this is its document."""
        found = tuple(sorted(instances, key=lambda each: each.instance))
        known = self._remembered.find(service)
        if known is None and not found:
            return
        routes = found[-1].routes if found else known.last_routes if known else ()
        document = dict(openapi) if openapi is not None else known.openapi if known else {}
        self._remembered.keep(service, routes, document)
        if self._remembered.find(service) == known and found == self.of(service):
            return
        self._instances[service] = found
        self._remembered.changed()

    def saving(self) -> AbstractAsyncContextManager[None]:
        """Save in the background; everything is on disk when it is left."""
        return self._remembered.saving()
