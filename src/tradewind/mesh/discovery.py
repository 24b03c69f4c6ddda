"""What the control plane needs to know of services, whoever keeps it: one interface, and a registry a module in `registries/`.

`consul` and `dns` read elsewhere and need no leases, so the door for registering is not part of the interface.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import msgspec

from tradewind.mesh.description import DeclaredRoute, Instance


class NamedEndpoint(msgspec.Struct, frozen=True):
    """A name that Envoy resolves itself; `server` is the address and port of the resolver, None for the system's."""

    host: str
    port: int
    server: tuple[str, int] | None = None


class KnownService(msgspec.Struct, frozen=True, kw_only=True):
    """A service that registered at least once; its routes and document outlive its instances.

    `since` is its rank of arrival: where two services declare the same operation, the earlier one keeps it.
    """

    service: str
    since: int
    instances: tuple[Instance, ...]
    last_routes: tuple[DeclaredRoute, ...]
    openapi: dict[str, Any]
    resolved: NamedEndpoint | None = None
    """With it, Envoy finds the endpoints; `instances` are then only what the control plane has seen of them."""

    @property
    def routes(self) -> tuple[DeclaredRoute, ...]:
        """The union over its instances; with none alive, what the last one declared."""
        union = dict.fromkeys(route for instance in self.instances for route in instance.routes)
        return tuple(union) or self.last_routes


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a registry is.

    `answers` is None before it was asked. `refused` says of each entry that gets no requests why.
    """

    kind: str
    address: str = ""
    answers: bool | None = None
    problem: str = ""
    refused: tuple[str, ...] = ()


class Discovery(Protocol):
    """Who is there, and word of every change."""

    def services(self) -> Mapping[str, KnownService]:
        """All known services by name."""
        ...

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each change, from the event loop; it must not block."""
        ...


class Registry(Discovery, Protocol):
    """A registry as the gateway runs it: `local`, `consul` or `dns`."""

    def instances(self) -> list[Instance]:
        """All instances that get requests, by name."""
        ...

    def standing(self) -> Standing:
        """Which registry this is, and whether it answers."""
        ...

    def running(self) -> AbstractAsyncContextManager[None]:
        """Keep up with what happens while the context lasts."""
        ...
