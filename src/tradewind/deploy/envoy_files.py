"""Envoy's configuration as files: the bootstrap, what the control plane sends, and both in one for `envoy --mode validate`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from tradewind.mesh.bootstrap import GATEWAY_SERVICE
from tradewind.mesh.control_plane import ControlPlane
from tradewind.mesh.discovery import KnownService
from tradewind.mesh.policy.table import PolicyTable
from tradewind.mesh.static_config import Resources, responses, static_config
from tradewind.mesh.xds import KINDS, Xds
from tradewind.services.gateway.app import declared_routes
from tradewind.services.gateway.settings import GatewaySettings


class _Declared:
    """Every service with what its code declares, and no instance yet."""

    def __init__(self, rooms: Iterable[str]) -> None:
        self._services = {
            f"{room}-service": KnownService(
                service=f"{room}-service",
                since=since,
                instances=(),
                last_routes=tuple(declared_routes(importlib.import_module(f"tradewind.services.{room}.api").api)),
                openapi={},
            )
            for since, room in enumerate(rooms, start=1)
            if f"{room}-service" != GATEWAY_SERVICE
        }

    def services(self) -> Mapping[str, KnownService]:
        """All of them by name."""
        return self._services

    def on_change(self, listener: Callable[[], None]) -> None:
        """Nothing ever changes."""


def default_resources(rooms: Iterable[str], settings: GatewaySettings, policies: PolicyTable) -> Resources:
    """What the control plane sends before the first instance registers; endpoints are empty."""
    xds = Xds()
    own = declared_routes(importlib.import_module("tradewind.services.gateway.api").api)
    ControlPlane(
        _Declared(rooms),
        xds,
        settings.rate_limits,
        own_service=GATEWAY_SERVICE,
        own_routes=own,
        policies=policies,
        cors=settings.cors,
    )
    return {kind: xds.resources(kind) for kind in KINDS}


def envoy_files(bootstrap: dict[str, Any], resources: Resources) -> dict[str, str]:
    """The files by name, as indented JSON: `bootstrap`, `clusters`, `endpoints`, `routes`, and all in one as `static`."""
    xds = Xds()
    xds.publish(resources)
    versions = {kind: xds.version(kind) for kind in KINDS}
    files = {
        "bootstrap.json": bootstrap,
        **responses(resources, versions),
        "static.json": static_config(bootstrap, resources),
    }
    return {
        name: msgspec.json.format(msgspec.json.encode(body), indent=2).decode() + "\n" for name, body in files.items()
    }
