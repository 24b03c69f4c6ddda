"""How fast events go: the relay, a consumer, and both together from a commit to its effect.

Each figure is of one relay and one consumer in this process, on a PostgreSQL of its own with its disk flushes on. `measure`
takes the bus that it is given, so every transport is measured by the same code.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tradewind.bench.figures import Figure, Say, figure_line
from tradewind.chassis.consumer import Consumer, Handlers
from tradewind.chassis.events import Envelope, Event, Received, encode
from tradewind.chassis.ids import new_id
from tradewind.chassis.migrations import migrate
from tradewind.chassis.outbox import Outbox
from tradewind.chassis.postgres import Database, Tx
from tradewind.chassis.relay import Relay
from tradewind.chassis.transport import Message, Transport, is_kafka, open_transport
from tradewind.chassis.transport.postgres import ensure_schema
from tradewind.stack import provision
from tradewind.stack.engines import KafkaEngine, PostgresEngine
from tradewind.stack.errors import StackError
from tradewind.stack.memory import pss_mb

EVENTS = 60_000
KEYS = 5_000
FILL_BATCH = 1_000
PACED_PER_S = 500
PACED_S = 10.0
TIMEOUT_S = 120.0
POLL_S = 0.02
_NOW = datetime(2026, 1, 1, tzinfo=UTC)

RELAY_AIM_PER_S = 10_000.0
CONSUMER_AIM_PER_S = 5_000.0
POSTGRES_AIM_MS = 10.0
KAFKA_AIM_MS = 25.0


class Carried(Event, frozen=True, kw_only=True):
    """The n-th event; about as long as an order's."""

    TYPE = "bench.moved.v1"
    TOPIC = "bench"
    n: int
    note: str = "x" * 400


@dataclass
class Rig:
    """A room's database with its outbox, a table for effects, and a bus."""

    url: str
    database: Database
    transport: Transport

    async def count(self, table: str) -> int:
        """Rows of `outbox` or `effect`."""
        sql = {"outbox": "SELECT count(*) FROM outbox", "effect": "SELECT count(*) FROM effect"}[table]
        return int(await self.database.value(sql))


@contextlib.asynccontextmanager
async def rig(admin_url: str, bus_url: str | None = None) -> AsyncIterator[Rig]:
    """Databases of their own on the server at `admin_url`; the bus is a third one, or an empty corner of `bus_url`."""
    name = f"bench_{new_id()[-12:]}"
    await provision.create_database(admin_url, name)
    url = _of(admin_url, name)
    await migrate(url, None)
    if bus_url is None:
        await provision.create_database(admin_url, f"{name}_bus")
        bus_url = _of(admin_url, f"{name}_bus")
        await ensure_schema(bus_url)
    elif is_kafka(bus_url):
        bus_url = f"{bus_url}/{name}"
    database = await Database.open(url, max_size=8)
    transport = await open_transport(bus_url, member="bench")
    try:
        await database.execute("CREATE TABLE effect (event_id uuid PRIMARY KEY, n int NOT NULL)")
        yield Rig(url, database, transport)
    finally:
        await transport.close()
        await database.close()


async def measure_relay(rig: Rig, *, events: int = EVENTS) -> float:
    """Events a second from a full outbox to the bus, each acknowledged and deleted."""
    outbox = Outbox("bench")
    for start in range(0, events, FILL_BATCH):
        async with rig.database.transaction() as tx:
            await outbox.add_many(
                tx, [(Carried(n=n), f"k{n % KEYS}", n // KEYS + 1) for n in range(start, start + FILL_BATCH)]
            )
    await rig.database.execute("ANALYZE outbox")
    relay = Relay(rig.url, rig.transport, outbox)
    return events / await _timed(relay.run(), lambda: _is(rig.count("outbox"), 0))


async def measure_consumer(rig: Rig, *, events: int = EVENTS) -> float:
    """Effects a second from a full bus: inbox row and effect in one transaction a batch, positions kept."""
    for start in range(0, events, FILL_BATCH):
        await rig.transport.publish([_message(n) for n in range(start, start + FILL_BATCH)])
    consumer = Consumer("bench-effects", rig.database, rig.transport, _writing(), None)
    return events / await _timed(consumer.run(), lambda: _is(rig.count("effect"), events))


async def measure_latency(rig: Rig, *, rate_per_s: int = PACED_PER_S, seconds: float = PACED_S) -> list[float]:
    """Seconds from each commit of an event to the commit of its effect, sorted; one transaction an event, at a fixed rate."""
    committed_s: dict[int, float] = {}
    effective_s: dict[int, float] = {}
    outbox = Outbox("bench")
    consumer = Consumer("bench-latency", rig.database, rig.transport, _noting(effective_s), None)
    tasks = [
        asyncio.create_task(Relay(rig.url, rig.transport, outbox).run()),
        asyncio.create_task(consumer.run()),
    ]

    async def commit(n: int) -> None:
        async with rig.database.transaction() as tx:
            await outbox.add(tx, Carried(n=n), key=f"k{n % KEYS}", version=n // KEYS + 1)
            tx.after_commit(lambda: committed_s.__setitem__(n, time.perf_counter()))

    async def settled(total: int) -> bool:
        return len(effective_s) >= total

    try:
        # Until the first has come through, members are still finding their shares.
        await commit(0)
        await _until(lambda: settled(1))
        total = int(rate_per_s * seconds)
        started_s = time.perf_counter()
        running: set[asyncio.Task[None]] = set()
        for n in range(1, total + 1):
            await asyncio.sleep(max(0.0, started_s + n / rate_per_s - time.perf_counter()))
            running.add(task := asyncio.create_task(commit(n)))
            task.add_done_callback(running.discard)
        if running:
            await asyncio.wait(running)
        await _until(lambda: settled(total + 1))
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.wait(tasks)
    return sorted(effective_s[n] - committed_s[n] for n in range(1, total + 1))


async def measure(
    say: Say, *, bus_url: str | None = None, bus: str = "postgres", aim_ms: float = POSTGRES_AIM_MS
) -> list[Figure]:
    """All of it over one bus; `bus` is what it is called in the figures' names."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="tradewind-messaging-") as folder:
        async with PostgresEngine(Path(folder) / "data") as engine:
            async with rig(engine.admin_url, bus_url) as room:
                figures.append(_rate("relay", bus, await measure_relay(room), RELAY_AIM_PER_S))
                say(figure_line(figures[-1]))
            async with rig(engine.admin_url, bus_url) as room:
                figures.append(_rate("consumer", bus, await measure_consumer(room), CONSUMER_AIM_PER_S))
                say(figure_line(figures[-1]))
            async with rig(engine.admin_url, bus_url) as room:
                taken_s = await measure_latency(room)
    name = f"commit to effect at {PACED_PER_S}/s, {bus}"
    figures.append(Figure(name=f"{name}, p50", value=taken_s[len(taken_s) // 2] * 1000, unit="ms", aim=aim_ms))
    figures.append(Figure(name=f"{name}, p99", value=taken_s[int(len(taken_s) * 0.99)] * 1000, unit="ms"))
    for figure in figures[-2:]:
        say(figure_line(figure))
    return figures


async def measure_kafka(say: Say) -> list[Figure]:
    """All of it over an Apache Kafka of its own: one broker beside everything else on this machine."""
    with tempfile.TemporaryDirectory(prefix="tradewind-kafka-") as folder:
        kafka = KafkaEngine(Path(folder) / "kafka")
        try:
            await kafka.start()
        except StackError as error:
            say(f"  not run: {error}")
            return []
        try:
            say(f"  one broker, {sum(pss_mb(kafka.pid or 0).values())} MB when it has started")
            return await measure(say, bus_url=kafka.url, bus="kafka", aim_ms=KAFKA_AIM_MS)
        finally:
            await kafka.stop()


def _rate(what: str, bus: str, value: float, aim: float) -> Figure:
    return Figure(name=f"{what}, {bus}", value=value, unit="events/s", aim=aim, better="more")


def _writing() -> Handlers[Any]:
    handlers: Handlers[Any] = Handlers()

    @handlers.on_batch(Carried)
    async def write(_parts: Any, tx: Tx, events: Sequence[Received[Carried]]) -> None:
        await tx.execute(
            "INSERT INTO effect (event_id, n) SELECT * FROM unnest($1::uuid[], $2::int[])",
            [event.id for event in events],
            [event.data.n for event in events],
        )

    return handlers


def _noting(effective_s: dict[int, float]) -> Handlers[Any]:
    """As `_writing`, and notes when each effect had been committed."""
    handlers: Handlers[Any] = Handlers()

    @handlers.on_batch(Carried)
    async def write(_parts: Any, tx: Tx, events: Sequence[Received[Carried]]) -> None:
        numbers = [event.data.n for event in events]
        await tx.execute(
            "INSERT INTO effect (event_id, n) SELECT * FROM unnest($1::uuid[], $2::int[])",
            [event.id for event in events],
            numbers,
        )
        tx.after_commit(lambda: effective_s.update(dict.fromkeys(numbers, time.perf_counter())))

    return handlers


def _message(n: int) -> Message:
    data = Carried(n=n)
    key = f"k{n % KEYS}"
    envelope = Envelope(
        id=new_id(), source="bench", type=data.TYPE, subject=key, time=_NOW, aggregateversion=n // KEYS + 1, data=data
    )
    return Message(topic=data.TOPIC, key=key, id=envelope.id, type=data.TYPE, value=encode(envelope))


async def _timed(run: Awaitable[None], done: Callable[[], Awaitable[bool]]) -> float:
    """Seconds from the start of `run`, which never ends by itself, until `done`."""
    started_s = time.perf_counter()
    task = asyncio.ensure_future(run)
    try:
        await _until(done)
        return time.perf_counter() - started_s
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _until(done: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not await done():
            await asyncio.sleep(POLL_S)


async def _is(value: Awaitable[int], wanted: int) -> bool:
    return await value == wanted


def _of(admin_url: str, database: str) -> str:
    return f"{admin_url.rpartition('/')[0]}/{database}"
