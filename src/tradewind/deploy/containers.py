"""Which containers there are, whatever runs them: the control plane, the rooms, the migrations, the provider's stand-in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata

from tradewind.deploy.environment import (
    ENVOY_ADMIN_PORT,
    GATEWAY,
    HTTP_PORT,
    SANDBOX,
    Environment,
    audit_environment,
    migration_environment,
    provision_environment,
    room_environment,
    sandbox_environment,
)
from tradewind.stack.rooms import CONTROL_PLANE

IMAGE = "tradewind"
MIGRATION = "migrate"
AUDIT = "audit"
USER_ID = 10_001
"""The image's user and group, by number, so that a platform can see it is not root."""

STOP_GRACE_S = 30
"""A service drains for up to 10 s, says farewell to the mesh for up to 3 s, and closes its pools."""

ROOM_MEMORY_MB = 256
GATEWAY_MEMORY_MB = 512
AUDIT_MEMORY_MB = 1024
"""Limits. An idle room takes 60 MB, Envoy 50 MB beside the control plane's 60. The audit keeps the provider's list of charges."""


AUDIT_WAIT = "2m"
"""How long it waits for the streams and the provider: longer than what may be pending (I9)."""


@dataclass(frozen=True, kw_only=True)
class Container:
    """One kind of container of our image. `name` is what others call it; `keeps_state` asks for a volume."""

    name: str
    command: tuple[str, ...]
    environment: Environment
    room: str = ""
    memory_mb: int = ROOM_MEMORY_MB
    keeps_state: bool = False


def every_container(rooms: Sequence[str]) -> list[Container]:
    """All of them for `rooms`, the control plane among these, in the order in which they start."""
    services = [room for room in rooms if room != CONTROL_PLANE]
    return [provision(services), gateway(), *(service(room) for room in services), sandbox()]


def gateway() -> Container:
    """The control plane with its Envoy."""
    return Container(
        name=GATEWAY,
        room=CONTROL_PLANE,
        command=("run", CONTROL_PLANE),
        environment=room_environment(CONTROL_PLANE),
        memory_mb=GATEWAY_MEMORY_MB,
        keeps_state=True,
    )


def service(room: str) -> Container:
    """A room that keeps its state in a database."""
    return Container(name=f"{room}-service", room=room, command=("run", room), environment=room_environment(room))


def migration(rooms: Sequence[str]) -> Container:
    """The one-time task that brings the rooms' databases to the newest version."""
    return Container(name=MIGRATION, command=("migrate",), environment=migration_environment(rooms))


def provision(rooms: Sequence[str]) -> Container:
    """The same where the engine comes with the deployment: it makes the databases and roles first."""
    return Container(name=MIGRATION, command=("migrate", "--provision"), environment=provision_environment(rooms))


def audit(rooms: Sequence[str]) -> Container:
    """The task that holds all books against each other; it ends, with another exit code than 0 if they disagree."""
    return Container(
        name=AUDIT,
        command=("audit", "--wait", AUDIT_WAIT, "--format", "json"),
        environment=audit_environment(rooms),
        memory_mb=AUDIT_MEMORY_MB,
    )


def sandbox() -> Container:
    """The payment provider's stand-in, for dev only: its command is an entry point of its own."""
    return Container(
        name=SANDBOX, command=("python", "-m", "tradewind.sandbox"), environment=sandbox_environment(), keeps_state=True
    )


def probe(port: int, path: str) -> list[str]:
    """A health check for an image without curl: 12 ms, since it imports nothing but `socket`."""
    ask = (
        f'import socket; s = socket.create_connection(("127.0.0.1", {port}), 3); '
        f's.sendall(b"GET {path} HTTP/1.1\\r\\nHost: me\\r\\n\\r\\n"); raise SystemExit(b" 200 " not in s.recv(64))'
    )
    return ["python", "-ISc", ask]


GATEWAY_PROBE = probe(ENVOY_ADMIN_PORT, "/ready")
"""The gateway is of use when its Envoy is, with a configuration that the control plane gave it."""

SANDBOX_PROBE = probe(HTTP_PORT, "/livez")


def image_version() -> str:
    """The tag of the image these files go with: the distribution's version."""
    return metadata.version("tradewind")
