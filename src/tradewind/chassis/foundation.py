"""What the chassis opens for every service before the service assembles its own parts from it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tradewind.chassis.cache import Cache
from tradewind.chassis.client import MeshClient
from tradewind.chassis.clock import Clock, SkewedClock, SystemClock
from tradewind.chassis.health import Readiness
from tradewind.chassis.identity import TokenVerifier
from tradewind.chassis.instance import instance_name
from tradewind.chassis.live import Live
from tradewind.chassis.metrics import Metrics
from tradewind.chassis.outbox import Outbox
from tradewind.chassis.postgres import Database
from tradewind.chassis.settings import DatabaseServiceSettings, ServiceSettings
from tradewind.chassis.tls import TlsIdentity
from tradewind.chassis.transport import Transport, open_transport

S = TypeVar("S", bound=ServiceSettings)


@dataclass(frozen=True, kw_only=True)
class Foundation:
    """The parts every service may build on. `database` and `transport` are there for rooms that keep state.

    `draining` is set when the service is about to stop: what would last, such as a stream, is to end now. A room tells
    `readiness` what else it would rather have.
    """

    service: str
    instance: str
    clock: Clock
    metrics: Metrics
    verifier: TokenVerifier
    cache: Cache
    mesh: MeshClient
    outbox: Outbox
    transport: Transport | None
    optional_database: Database | None
    live: Live[Any]
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    readiness: Readiness = field(default_factory=Readiness)

    def live_settings(self, kind: type[S]) -> Live[S]:
        """The room's settings as they are now; `kind` is the room's own class.

        Raises:
            TypeError: the process was started with another one.
        """
        if not isinstance(self.live.start, kind):
            raise TypeError(f"{self.service} runs on {type(self.live.start).__name__}, not on {kind.__name__}")
        return self.live

    @property
    def database(self) -> Database:
        """The room's own database.

        Raises:
            RuntimeError: the room's settings have none.
        """
        if self.optional_database is None:
            raise RuntimeError(f"{self.service} has no database: derive its settings from DatabaseServiceSettings")
        return self.optional_database


@contextlib.asynccontextmanager
async def open_foundation(
    room: str, settings: ServiceSettings, live: Live[Any] | None = None, tls: TlsIdentity | None = None
) -> AsyncIterator[Foundation]:
    """Open everything that `settings` name, and close it in reverse order; `live` are the same where they change.

    `tls` is what the mesh is spoken to with.

    Raises:
        Unavailable: an engine that the service cannot start without is away.
    """
    service = f"{room}-service"
    instance = instance_name(settings.instance, room)
    clock = SkewedClock(Path(settings.clock_skew_file)) if settings.clock_skew_file else SystemClock()
    metrics = Metrics(service=service, instance=instance)
    readiness = Readiness(metrics)
    async with contextlib.AsyncExitStack() as stack:
        database = transport = None
        if isinstance(settings, DatabaseServiceSettings):
            read_url = settings.database_read_url
            database = await Database.open(
                settings.database_url.reveal(),
                read_url=read_url.reveal() if read_url else None,
                max_size=settings.pool_size,
                application_name=instance,
            )
            stack.push_async_callback(database.close)
            readiness.need("database", database.ping)
            metrics.watch_pool(database.connections)
        if settings.bus_url:
            transport = await open_transport(settings.bus_url.reveal(), member=instance)
            stack.push_async_callback(transport.close)
            # What is committed waits in the outbox, so requests succeed without it.
            readiness.prefer("bus", partial(_reach, transport, room))
        cache = await Cache.open(settings.valkey_url, prefix=room, metrics=metrics)
        stack.push_async_callback(cache.close)
        if settings.valkey_url:
            readiness.prefer("cache", cache.ping)
        mesh = MeshClient(settings.mesh_url, service=service, metrics=metrics, tls=tls.client if tls else None)
        stack.push_async_callback(mesh.close)
        verifier = TokenVerifier(settings.jwks_url, clock=clock)
        stack.push_async_callback(verifier.close)
        yield Foundation(
            service=service,
            instance=instance,
            clock=clock,
            metrics=metrics,
            verifier=verifier,
            cache=cache,
            mesh=mesh,
            outbox=Outbox(service, clock=clock),
            transport=transport,
            optional_database=database,
            readiness=readiness,
            live=live or Live(settings),
        )


async def _reach(transport: Transport, topic: str) -> None:
    await transport.heads([topic])
