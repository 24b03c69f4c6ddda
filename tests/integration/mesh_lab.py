"""A mesh to experiment on: the gateway as a process with its own real Envoy, and tiny services behind it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from tradewind.mesh.identity import operator_token, room_token
from tradewind.mesh.registries.local_registrar import LocalRegistrar

SECRET = "the platform secret of a test"
PATIENCE_S = 20.0
_RUN_GATEWAY = """
import asyncio, os, uvloop
from tradewind.chassis.lifecycle import serve
from tradewind.chassis.settings import load
from tradewind.services.gateway.app import create_app
from tradewind.services.gateway.settings import GatewaySettings
settings = load(GatewaySettings, os.environ)
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    raise SystemExit(runner.run(serve(create_app(settings), settings, None)))
"""
_RUN_ECHO = """
import asyncio, sys
from tests.integration.mesh_lab import Echo
async def main():
    async with Echo(sys.argv[1], port=int(sys.argv[2]), host=sys.argv[3]).running():
        await asyncio.Event().wait()
asyncio.run(main())
"""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


async def until(condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Poll `condition` (plain or async) until it is true, and return what it gave."""
    give_up_s = time.monotonic() + patience_s
    while True:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        if time.monotonic() > give_up_s:
            raise TimeoutError(f"waited {patience_s} s for {what}")
        await asyncio.sleep(0.02)


class Lab:
    """The gateway, its Envoy, and a client session. Make one with `mesh_lab`."""

    def __init__(
        self,
        folder: Path,
        session: aiohttp.ClientSession,
        environ: Mapping[str, str] | None = None,
        *,
        mtls: str = "off",
        **settings: object,
    ) -> None:
        ports = free_ports(6)
        self.mtls = mtls
        self.folder = folder
        self.session = session
        self.edge_port, self.egress_port, self.admin_port, self.port, self.control_port, self.management_port = ports
        self.edge, self.egress, self.admin, self.gateway, self.control, self.management = (
            f"http://127.0.0.1:{port}" for port in ports
        )
        self.tls_port = 0
        self.access_log = folder / "access.log"
        self.process: asyncio.subprocess.Process | None = None
        self.log_path = folder / "gateway.log"
        self.program = _RUN_GATEWAY
        self._settings = settings
        self._environ = dict(environ or {})
        self._registrars: list[LocalRegistrar] = []

    @property
    def log(self) -> str:
        """What the gateway and Envoy wrote."""
        return self.log_path.read_text()

    async def start(self) -> None:
        """Start the gateway; return once its Envoy has its routes."""
        environ = {
            **{
                name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "OTEL_", "MESH_"))
            },
            "MESH_MTLS": self.mtls,
            "GATEWAY_PORT": str(self.port),
            "GATEWAY_MANAGEMENT_PORT": str(self.management_port),
            "GATEWAY_CONTROL_PORT": str(self.control_port),
            "GATEWAY_EDGE_PORT": str(self.edge_port),
            "GATEWAY_EDGE_HOST": "127.0.0.1",
            "GATEWAY_EGRESS_PORT": str(self.egress_port),
            "GATEWAY_ENVOY_ADMIN_PORT": str(self.admin_port),
            "GATEWAY_ENVOY_WORKERS": "1",
            "GATEWAY_STATE_DIR": str(self.folder / "state"),
            "GATEWAY_REGISTRY_SECRET": SECRET,
            "GATEWAY_ACCESS_LOG": str(self.access_log),
            **{f"GATEWAY_{name.upper()}": str(value) for name, value in self._settings.items()},
            **self._environ,
        }
        with self.log_path.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", self.program, env=environ, stdout=log, stderr=log
            )
        await until(self._serves, f"the edge to serve; the log says:\n{self.log}")

    async def stop(self) -> int:
        """End the gateway as a supervisor would."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_S):
            return await self.process.wait()

    async def kill(self) -> None:
        """End it without a word."""
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    async def close(self) -> None:
        """Take back what was registered and end the gateway, if it still runs."""
        await self.forget()
        if self.process is not None and self.process.returncode is None:
            await self.stop()

    async def forget(self) -> None:
        """Take back all that was registered with `register`."""
        await asyncio.gather(*(registrar.deregister() for registrar in self._registrars))
        self._registrars.clear()

    async def status(self) -> dict[str, Any]:
        """`GET /v1/mesh`."""
        headers = {"authorization": f"Bearer {operator_token(SECRET)}"}
        async with self.session.get(f"{self.control}/v1/mesh", headers=headers) as answer:
            return await answer.json()

    async def register(self, instance: str, port: int, *routes: Mapping[str, Any], **more: Any) -> LocalRegistrar:
        """Register an instance named `order-1` the way a service does."""
        registrar = LocalRegistrar(self.control, room_token(SECRET, instance.partition("-")[0]))
        self._registrars.append(registrar)
        await registrar.register(description(instance, port, *routes, **more))
        return registrar

    async def _serves(self) -> bool:
        assert self.process is not None
        if self.process.returncode is not None:
            raise AssertionError(f"the gateway ended: {self.log}")
        try:
            async with self.session.get(f"{self.edge}/nothing-here") as answer:
                return answer.status == 404
        except aiohttp.ClientError:
            return False


@contextlib.asynccontextmanager
async def mesh_lab(
    folder: Path, environ: Mapping[str, str] | None = None, *, first: str = "", mtls: str = "off", **settings: object
) -> AsyncIterator[Lab]:
    """A running lab; everything it started is gone afterwards. `first` is what the gateway's process runs before all else."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        lab = Lab(folder, session, environ, mtls=mtls, **settings)
        lab.program = first + lab.program
        try:
            await lab.start()
            yield lab
        finally:
            await lab.close()


def description(instance: str, port: int, *routes: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A registration body."""
    room = instance.partition("-")[0]
    return {
        "service": f"{room}-service",
        "room": room,
        "instance": instance,
        "address": "127.0.0.1",
        "port": port,
        "management_port": port,
        "routes": [{"access": "public", "rate": "none", **route} for route in routes],
        "openapi": {"openapi": "3.1.0", "info": {}, "paths": {}},
        **more,
    }


class Echo:
    """A service that answers with its name and the request it got. Paths steer it: see `_answer`."""

    def __init__(
        self, name: str, *, port: int = 0, host: str = "127.0.0.1", key_set: dict[str, Any] | None = None
    ) -> None:
        self.name = name
        self.port = port
        self.host = host
        self.key_set = key_set
        self.requests: list[str] = []
        self.closing = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Echo]:
        """Listen while the context lasts."""
        connections: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            connections.add(task)
            try:
                await self._serve(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass
            finally:
                connections.discard(task)
                writer.close()

        server = await asyncio.start_server(connected, self.host, self.port, limit=1 << 20)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in connections:
                task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *fields = head.rstrip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            method, path, _ = line.split(" ")
            self.requests.append(f"{method} {path}")
            if not await self._answer(writer, method, path, headers, body):
                return

    async def _answer(
        self, writer: asyncio.StreamWriter, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> bool:
        """`/slow` waits a little, `/hang` for ever, `/die` breaks the connection, `/stream` goes on, `/elsewhere` says that it cannot."""
        status, extra = "200 OK", ""
        if "/slow" in path:
            await asyncio.sleep(0.3)
        if "/hang" in path:
            await asyncio.Event().wait()
        if "/die" in path:
            return False
        if "/elsewhere" in path:
            status, extra = "503 Service Unavailable", "x-tradewind-retry: elsewhere\r\n"
        if "/503" in path:
            status = "503 Service Unavailable"
        if "/stream" in path:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            for number in range(3):
                event = f"data: {number}\n\n".encode()
                writer.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
                await writer.drain()
                await asyncio.sleep(0.4)
            writer.write(b"0\r\n\r\n")
            return True
        told = {"name": self.name, "method": method, "path": path, "headers": headers, "body": body.decode("latin-1")}
        content = json.dumps(self.key_set if self.key_set and path.startswith("/.well-known") else told).encode()
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{extra}content-length: {len(content)}\r\n\r\n"
        writer.write(head.encode() + (b"" if method == "HEAD" else content))
        await writer.drain()
        return True


@contextlib.asynccontextmanager
async def echo_process(name: str, port: int, host: str = "127.0.0.1") -> AsyncIterator[asyncio.subprocess.Process]:
    """An `Echo` as a process of its own, to be killed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _RUN_ECHO, name, str(port), host, cwd=Path(__file__).parents[2]
    )

    async def listens() -> bool:
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            return False
        writer.close()
        return True

    try:
        await until(listens, f"{name} to listen")
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


class Issuer:
    """Makes access tokens as auth-service does."""

    def __init__(self, kid: str = "k1") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._kid = kid

    @property
    def key_set(self) -> dict[str, Any]:
        """The public half."""
        public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key()))
        return {"keys": [{**public, "kid": self._kid, "use": "sig", "alg": "ES256"}]}

    def token(self, subject: str = "u-1", *, expires_in_s: int = 600, **claims: Any) -> str:
        """An access token."""
        now_s = int(time.time())
        payload = {
            "iss": "tradewind",
            "aud": "tradewind",
            "sub": subject,
            "roles": ["customer"],
            "iat": now_s,
            "exp": now_s + expires_in_s,
            **claims,
        }
        headers = {"kid": self._kid, "typ": "at+jwt"}
        return jwt.encode(
            {name: value for name, value in payload.items() if value is not None}, self._key, "ES256", headers
        )
