"""Assembling one room and serving it: settings from their layers, the mesh's registrar, the chassis' life cycle."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Mapping

import uvloop

from tradewind.chassis import lifecycle
from tradewind.chassis.live import Live
from tradewind.chassis.secrets import SecretsError
from tradewind.chassis.secrets.opening import with_secrets
from tradewind.chassis.settings import ServiceSettings, SettingsError, load_layers, read_layers
from tradewind.mesh.live_stores import open_store
from tradewind.mesh.registries import registrar_of
from tradewind.mesh.room_certificate import RoomCertificate
from tradewind.stack.gate import wait_for_turn
from tradewind.stack.room_settings import settings_class
from tradewind.stack.rooms import CONTROL_PLANE


def serve_room(room: str, environ: Mapping[str, str]) -> int:
    """Serve `room` until SIGTERM; return the exit code. A wrong or missing variable ends it with 1, each one named."""
    app = importlib.import_module(f"tradewind.services.{room}.app")
    wait_for_turn(environ)
    try:
        kind = settings_class(room)
        live = _live(kind, with_secrets(kind, environ))
        # The control plane is no one's neighbour: it is not registered anywhere, its Envoy knows it.
        registrar = None if room == CONTROL_PLANE else registrar_of(live.start)
        identity = _identity(room, live.start)
    except SettingsError as error:
        print(f"tradewind run {room}: the environment is not right", file=sys.stderr)
        for fault in error.faults:
            print(f"  {fault}", file=sys.stderr)
        return 1
    except SecretsError as error:
        print(f"tradewind run {room}: {error.problem}\n  {error.fix}", file=sys.stderr)
        return 1
    settings = live.start
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(lifecycle.serve(app.create_app(settings), settings, registrar, live, identity))


def _live(kind: type[ServiceSettings], environ: Mapping[str, str]) -> Live[ServiceSettings]:
    """The settings from all layers. Raises SettingsError that names each fault."""
    layers = read_layers(kind, environ)
    settings = load_layers(kind, layers)
    try:
        store = open_store(settings.live_config_url, environ) if settings.live_config_url else None
    except ValueError as error:
        raise SettingsError([str(error)]) from error
    return Live(settings, layers, store)


def _identity(room: str, settings: ServiceSettings) -> RoomCertificate | None:
    """The room's certificate under mutual TLS; None without, and for the control plane, which is its own authority."""
    authority = settings.mesh_authority_url or settings.registry_url
    if settings.mesh_mtls == "off" or room == CONTROL_PLANE or settings.registry_token is None:
        return None
    if not authority.startswith(("http://", "https://")):
        raise SettingsError(
            [
                "MESH_AUTHORITY_URL: missing. MESH_MTLS is strict, and the registry is not the gateway: name its control port."
            ]
        )
    return RoomCertificate(authority, settings.registry_token.reveal(), room)
