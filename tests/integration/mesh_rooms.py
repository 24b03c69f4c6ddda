"""Rooms to experiment on under mutual TLS: real services of the chassis, as processes, that echo and call each other."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import uvloop

from tests.integration.mesh_lab import PATIENCE_S, SECRET, Lab, free_ports, until
from tradewind.chassis.client import MeshClient
from tradewind.chassis.foundation import Foundation
from tradewind.chassis.http import PUBLIC, Api, Call
from tradewind.chassis.lifecycle import serve
from tradewind.chassis.service import Service
from tradewind.chassis.settings import ServiceSettings, load
from tradewind.mesh.identity import room_token
from tradewind.mesh.registries.local_registrar import LocalRegistrar
from tradewind.mesh.room_certificate import RoomCertificate

ADDRESS = "/v1/users/me/addresses/"
"""What the policy allows order-service to read."""


def echo_service(room: str) -> Service[MeshClient]:
    """`/v1/{room}/echo` tells which headers came; `/v1/{room}/ask` reads an address of user-service, or any path of it."""
    api = Api(room, tag=room)

    @api.get(f"/v1/{room}/echo", access=PUBLIC, rate="none")
    async def echo(call: Call[MeshClient]) -> dict[str, str]:
        """Tell what came."""
        return dict(call.request.headers)

    @api.get(f"{ADDRESS}{{id}}" if room == "user" else f"/v1/{room}/other/{{id}}", access=PUBLIC, rate="none")
    async def address(call: Call[MeshClient], id: str) -> dict[str, str]:
        """Tell what came."""
        return {"id": id, **call.request.headers}

    @api.get(f"/v1/{room}/ask", access=PUBLIC, rate="none", timeout_s=5.0)
    async def ask(call: Call[MeshClient], service: str = "user-service", path: str = f"{ADDRESS}a-1") -> dict[str, str]:
        """Ask another service, as this one."""
        return await call.parts.get(service, path, type=dict[str, str])

    @contextlib.asynccontextmanager
    async def assemble(foundation: Foundation) -> AsyncIterator[MeshClient]:
        yield foundation.mesh

    return Service(room=room, api=api, assemble=assemble)


class RoomSettings(ServiceSettings, frozen=True, kw_only=True):
    """The settings of any room of this kind."""

    PREFIX = "ROOM_"


def run(room: str) -> int:
    """Serve it, as `tradewind run` does."""
    settings = load(RoomSettings, os.environ)
    assert settings.registry_token is not None
    token = settings.registry_token.reveal()
    identity = RoomCertificate(settings.registry_url, token, room) if settings.mesh_mtls == "strict" else None
    registrar = LocalRegistrar(settings.registry_url, token)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve(echo_service(room), settings, registrar, identity=identity))


class RoomProcess:
    """One running room."""

    def __init__(self, room: str, lab: Lab) -> None:
        self.room = room
        self.lab = lab
        self.port, self.management_port = free_ports(2)
        self.log_path = lab.folder / f"{room}-{self.port}.log"
        self.process: asyncio.subprocess.Process | None = None

    @property
    def log(self) -> str:
        """What it wrote."""
        return self.log_path.read_text()

    async def start(self) -> None:
        """Return once it is ready, which is when Envoy knows it."""
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "MESH_"))},
            "MESH_MTLS": self.lab.mtls,
            "MESH_URL": self.lab.egress,
            "REGISTRY_URL": self.lab.control,
            "REGISTRY_TOKEN": room_token(SECRET, self.room),
            "ROOM_PORT": str(self.port),
            "ROOM_MANAGEMENT_PORT": str(self.management_port),
            "ROOM_INSTANCE": f"{self.room}-{self.port}",
            "JWKS_URL": f"{self.lab.gateway}/.well-known/jwks.json",
        }
        with self.log_path.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.integration.mesh_rooms", self.room,
                env=environ, stdout=log, stderr=log, cwd=Path(__file__).parents[2],
            )  # fmt: skip
        await until(self._ready, f"{self.room} to be ready; its log: {self.log_path}")

    async def stop(self) -> None:
        """End it as a supervisor would."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_S):
            await self.process.wait()

    async def _ready(self) -> bool:
        assert self.process is not None
        assert self.process.returncode is None, self.log
        try:
            async with self.lab.session.get(f"http://127.0.0.1:{self.management_port}/readyz") as answer:
                return answer.status == 200
        except OSError:
            return False


@contextlib.asynccontextmanager
async def rooms(lab: Lab, *names: str) -> AsyncIterator[list[RoomProcess]]:
    """Running rooms, by name; all are gone afterwards."""
    found = [RoomProcess(name, lab) for name in names]
    try:
        await asyncio.gather(*(room.start() for room in found))
        yield found
    finally:
        await asyncio.gather(*(room.stop() for room in found if room.process is not None))


if __name__ == "__main__":
    raise SystemExit(run(sys.argv[1]))
