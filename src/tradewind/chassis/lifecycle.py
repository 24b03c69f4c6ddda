"""The life of a service process: open, serve, register, ..., deregister, drain, close."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import uvicorn
from starlette.types import ASGIApp

from tradewind.chassis import idempotency, logs, otlp, trace
from tradewind.chassis.alongside import alongside
from tradewind.chassis.config_page import config_routes
from tradewind.chassis.consumer import Consumer
from tradewind.chassis.errors import Unavailable
from tradewind.chassis.foundation import Foundation, open_foundation
from tradewind.chassis.health import management_app
from tradewind.chassis.http.app import Doorman, build_asgi
from tradewind.chassis.http.openapi import openapi_document
from tradewind.chassis.instance import instance_name
from tradewind.chassis.jobs import Job
from tradewind.chassis.live import Live
from tradewind.chassis.relay import Relay
from tradewind.chassis.self_description import description_route
from tradewind.chassis.service import Service
from tradewind.chassis.settings import DatabaseServiceSettings, ServiceSettings
from tradewind.chassis.tls import MeshIdentity, TlsIdentity

P = TypeVar("P")

OPEN_PATIENCE_S = 60.0
KEEP_ALIVE_S = 90
CLEANUP_EVERY_S = 600.0
_log = logs.get_logger("lifecycle")


class Registrar(Protocol):
    """Makes an instance known to the mesh, keeps it known, and takes it back."""

    async def register(self, description: Mapping[str, Any]) -> None:
        """Return once the instance is known for the first time; a lease is kept alive in the background."""
        ...

    async def deregister(self) -> None:
        """Return once no proxy sends it requests any more; bounded, and never raises."""
        ...


async def serve(
    service: Service[P],
    settings: ServiceSettings,
    registrar: Registrar | None,
    live: Live[Any] | None = None,
    identity: MeshIdentity | None = None,
) -> int:
    """Run `service` until SIGTERM or SIGINT; returns the exit code. With `identity` its port speaks mutual TLS only.

    On the signal it becomes unready, leaves the mesh, finishes the requests in flight (at most `drain_s`), then stops
    consumers, jobs and relay, and closes its pools. `live` are the same settings where they change meanwhile.
    """
    live = live or Live(settings)
    instance = instance_name(settings.instance, service.room)
    logs.configure(service.name, instance, settings.log_level, settings.log_format)
    stop = _stop_signal()
    live.on_change(lambda _, new: logs.set_level(new.log_level))
    await live.open()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(live.close)
        exporter = otlp.start(settings.otlp_endpoint, service=service.name, instance=instance)
        if exporter is not None:
            stack.push_async_callback(asyncio.to_thread, exporter.stop)
        trace.configure(ratio=settings.trace_ratio, sink=exporter)
        tls = identity.tls if identity else None
        if identity is not None:
            await _until(identity.obtain(), stop)
            if stop.is_set():
                return 0
        foundation = await _patiently(stack, lambda: open_foundation(service.room, settings, live, tls), stop)
        if foundation is None:
            return 0
        parts = await stack.enter_async_context(service.assemble(foundation))
        live.measure(foundation.metrics)
        readiness = foundation.readiness
        background = [*_background(service, settings, foundation, parts)]
        if identity is not None:
            background.append(_Background("identity", identity.keep))
        public, management = _listen(settings.host, settings.port), _listen(settings.host, settings.management_port)
        doorman = Doorman(foundation.verifier, foundation.optional_database, foundation.metrics)
        also = config_routes(live, instance)
        if settings.registry_token is not None:
            token = settings.registry_token.reveal()
            describe = partial(_description, service, settings, instance, public, management)
            also = [*also, description_route(describe, token)]
        servers = [
            _Server.made(build_asgi(service.api, parts, doorman), public, settings.drain_s, tls),
            _Server.made(management_app(readiness, foundation.metrics, also), management, 1.0),
        ]
        await stack.enter_async_context(foundation.metrics.loop_watch())
        description = _description(service, settings, instance, public, management)
        running = (asyncio.create_task(each.guard(stop), name=each.name) for each in background)
        async with alongside(*running), _serving(servers):
            if registrar is not None:
                await _until(registrar.register(description), stop)
            readiness.started = True
            _log.info("ready", port=description["port"], management_port=description["management_port"])
            await stop.wait()
            readiness.draining = True
            _log.info("draining")
            if registrar is not None:
                await registrar.deregister()
            foundation.draining.set()
            await servers[0].drain()
        failed = any(task.failed for task in background)
        _log.info("stopped")
    return 1 if failed else 0


class _Background:
    """A task that must not end before the service does; its end stops the service."""

    def __init__(self, name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.name = name
        self.failed = False
        self._run = run

    async def guard(self, stop: asyncio.Event) -> None:
        try:
            await self._run()
            _log.error("background task ended", task=self.name)
        except Exception as exc:
            _log.error("background task failed", task=self.name, exc_info=exc)
        self.failed = True
        stop.set()


def _background(
    service: Service[P], settings: ServiceSettings, foundation: Foundation, parts: P
) -> Sequence[_Background]:
    found: list[_Background] = []
    found.append(_Background("health", foundation.readiness.watch))
    found.append(_Background("live settings", foundation.live.follow))
    database = foundation.optional_database
    if service.emits and isinstance(settings, DatabaseServiceSettings):
        if foundation.transport is None:
            raise Unavailable("bus-not-configured", "BUS_URL is missing, and this service emits events.")
        relay = Relay(
            settings.database_url.reveal(), foundation.transport, foundation.outbox,
            metrics=foundation.metrics, gap_s=service.linger_s, paused=lambda: foundation.live.value.relay_paused,
        )  # fmt: skip
        found.append(_Background("relay", relay.run))
    if service.handlers is not None:
        if foundation.transport is None or database is None:
            raise Unavailable("bus-not-configured", "BUS_URL is missing, and this service hears events.")
        consumer = Consumer(
            service.name, database, foundation.transport, service.handlers, parts,
            metrics=foundation.metrics, linger_s=service.linger_s, paused=lambda: foundation.live.value.consumer_paused,
        )  # fmt: skip
        found.append(_Background("consumer", consumer.run))
    found.extend(_Background(f"job {job.name}", partial(job.loop, parts)) for job in service.jobs(parts))
    if database is not None:
        cleanup: Job[Any] = Job("idempotency-cleanup", CLEANUP_EVERY_S, lambda _: _forget(foundation))
        found.append(_Background("job idempotency-cleanup", partial(cleanup.loop, None)))
    return found


async def _forget(foundation: Foundation) -> None:
    await idempotency.forget_old_keys(foundation.database)


def _description(
    service: Service[Any], settings: ServiceSettings, instance: str, public: socket.socket, management: socket.socket
) -> dict[str, Any]:
    version = importlib.metadata.version("tradewind")
    return {
        "service": service.name,
        "room": service.room,
        "instance": instance,
        "address": settings.advertise_host or settings.host,
        "port": public.getsockname()[1],
        "management_port": management.getsockname()[1],
        "version": version,
        "routes": [
            {
                "path": operation.path,
                "methods": [operation.method],
                "access": operation.access.kind,
                "roles": list(operation.access.roles),
                "idempotent": operation.idempotent,
                "rate": operation.rate,
                "timeout_s": operation.timeout_s,
                "stream": operation.stream,
                "max_body_bytes": operation.max_body_bytes,
            }
            for operation in service.api.operations
        ],
        "openapi": openapi_document(service.api, version=version),
    }


async def _patiently(
    stack: contextlib.AsyncExitStack,
    open_: Callable[[], contextlib.AbstractAsyncContextManager[Foundation]],
    stop: asyncio.Event,
) -> Foundation | None:
    """Wait for engines that start beside us; None when told to stop meanwhile."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + OPEN_PATIENCE_S
    pause_s = 0.05
    while True:
        try:
            return await stack.enter_async_context(open_())
        except Unavailable as exc:
            if loop.time() > give_up_at:
                raise
            _log.warning("waiting", code=exc.code, detail=exc.detail)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await stop.wait()
                return None
        pause_s = min(pause_s * 2, 1.0)


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def _until(work: Coroutine[Any, Any, None], stop: asyncio.Event) -> None:
    """Await `work`, or give it up when told to stop."""
    task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if task.done():
        task.result()
    else:
        task.cancel()


def _listen(host: str, port: int) -> socket.socket:
    sock = socket.create_server((host, port), backlog=2048, reuse_port=False)
    sock.setblocking(False)
    # Accepted connections inherit it; head and body of an answer are two writes, and Nagle would hold back the second.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: the process has one life cycle, this module's."""

    sockets: list[socket.socket]
    task: asyncio.Task[None] | None = None

    @classmethod
    def made(cls, app: ASGIApp, sock: socket.socket, drain_s: float, tls: TlsIdentity | None = None) -> _Server:
        """A server for `app` on a socket that listens already; with `tls`, in mutual TLS only."""
        configuration = uvicorn.Config(
            app, http="httptools", ws="none", loop="none", lifespan="off", access_log=False, log_config=None,
            server_header=False, date_header=False, proxy_headers=False, timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(1, round(drain_s)),
            ssl_context_factory=None if tls is None else lambda _config, _default: tls.server,
        )  # fmt: skip
        server = cls(configuration)
        server.sockets = [sock]
        return server

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def drain(self) -> None:
        """Stop listening, finish what is in flight, close. Doing it twice is harmless."""
        self.should_exit = True
        if self.task is not None:
            await asyncio.wait({self.task})


@contextlib.asynccontextmanager
async def _serving(servers: Sequence[_Server]) -> AsyncIterator[None]:
    for server in servers:
        server.task = asyncio.create_task(server.serve(sockets=server.sockets))
    try:
        yield
    finally:
        for server in servers:
            await server.drain()
