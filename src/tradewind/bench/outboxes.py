"""Why the outbox is read the way it is: the usual ways beside ours, under the same traffic, and what each loses.

`WRITERS` sessions commit events of their own keys in transactions of very different lengths, so that ids become visible out
of the order they were given in. Meanwhile each reader carries them away as the tutorials have it:

    cursor        `WHERE id > last ORDER BY id`: a row that commits below the cursor is never seen
    skip locked   workers that take rows `FOR UPDATE SKIP LOCKED`: nothing is lost, and keys lose their order
    snapshot      `WHERE xid < pg_snapshot_xmin(...)`: sound, and stands still for as long as anybody's transaction
    ours          a publisher a shard, oldest rows first, deleted once the bus has them (`chassis.relay`)
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import asyncpg
import msgspec

from tradewind.bench.figures import Figure, Say, table
from tradewind.chassis.events import Event
from tradewind.chassis.ids import new_id
from tradewind.chassis.migrations import migrate
from tradewind.chassis.outbox import Outbox
from tradewind.chassis.postgres import Database
from tradewind.chassis.relay import Relay
from tradewind.chassis.transport import Delivered, open_transport
from tradewind.chassis.transport.postgres import ensure_schema
from tradewind.stack import provision
from tradewind.stack.engines import PostgresEngine

WRITERS = 16
EVENTS_EACH = 120
KEYS_EACH = 4
LONGEST_MS = 12
SKIP_LOCKED_WORKERS = 4
BATCH = 50
POLL_S = 0.002
ACKNOWLEDGED_WITHIN_S = 0.01
QUIET_S = 1.0
NEIGHBOUR_S = 3.0

_TABLE = """
    CREATE TABLE naive_outbox (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
        key text NOT NULL, n int NOT NULL
    )
"""
_CURSOR = "SELECT id, key, n FROM naive_outbox WHERE id > $1 ORDER BY id LIMIT $2"
_SKIP_LOCKED = """
    DELETE FROM naive_outbox WHERE id IN (
        SELECT id FROM naive_outbox ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED
    ) RETURNING id, key, n
"""
_SNAPSHOT = """
    SELECT id, key, n, xid::text FROM naive_outbox
    WHERE (xid, id) > ($1::text::xid8, $2) AND xid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY xid, id LIMIT $3
"""

Seen = list[tuple[str, int]]
"""Key and number of each event, in the order a reader had them."""


class Carried(Event, frozen=True, kw_only=True):
    """The n-th event of its key."""

    TYPE = "bench.carried.v1"
    TOPIC = "bench"
    n: int


async def measure(say: Say) -> list[Figure]:
    """Run all four and print what each lost, turned round and delayed."""
    with tempfile.TemporaryDirectory(prefix="tradewind-outboxes-") as folder:
        async with PostgresEngine(Path(folder) / "data") as engine:
            return await _measure(engine.admin_url, say)


async def _measure(admin_url: str, say: Say) -> list[Figure]:
    total = WRITERS * EVENTS_EACH
    rows: list[tuple[str, ...]] = []
    lost_by: dict[str, float] = {}
    for name, run in (
        ("cursor", _with_cursor),
        ("skip locked", _with_skip_locked),
        ("snapshot", _with_snapshot),
        ("ours", _with_ours),
    ):
        seen, delayed_s = await run(admin_url)
        lost_by[name] = (total - len(set(seen))) / total
        rows.append(
            (
                name,
                f"{lost_by[name]:.1%}",
                f"{_turned_round(seen)}",
                f"{len(seen) - len(set(seen))}",
                f"{delayed_s:.2f}",
            )
        )
    say(
        f"  {total} events, {WRITERS} writers, transactions of 0 to {LONGEST_MS} ms; then one more event while a neighbour's"
    )
    say(f"  database has a transaction open for {NEIGHBOUR_S:.0f} s")
    for line in table(("reading the outbox", "lost", "out of order", "doubled", "delayed by the neighbour, s"), rows):
        say(line)
    return [
        Figure(name="events a tutorial's cursor loses", value=lost_by["cursor"] * 100, unit="%"),
        Figure(name="events our relay loses", value=lost_by["ours"] * 100, unit="%", aim=0.0),
    ]


async def _with_cursor(admin_url: str) -> tuple[Seen, float]:
    async with _naive_database(admin_url) as url, _session(url) as reader:
        seen: Seen = []
        last = 0

        async def step() -> bool:
            nonlocal last
            rows = await reader.fetch(_CURSOR, last, BATCH)
            seen.extend((row["key"], row["n"]) for row in rows)
            last = rows[-1]["id"] if rows else last
            return bool(rows)

        return await _read_beside_writers(admin_url, url, seen, [step])


async def _with_skip_locked(admin_url: str) -> tuple[Seen, float]:
    async with _naive_database(admin_url) as url, contextlib.AsyncExitStack() as stack:
        seen: Seen = []
        workers = [await stack.enter_async_context(_session(url)) for _ in range(SKIP_LOCKED_WORKERS)]

        def step_of(worker: asyncpg.Connection) -> Callable[[], Awaitable[bool]]:
            async def step() -> bool:
                async with worker.transaction():
                    rows = sorted(await worker.fetch(_SKIP_LOCKED, BATCH), key=lambda row: int(row["id"]))
                    # What the broker takes to confirm, during which the other workers go on with later rows.
                    await asyncio.sleep(random.random() * ACKNOWLEDGED_WITHIN_S if rows else 0)
                    seen.extend((row["key"], row["n"]) for row in rows)
                return bool(rows)

            return step

        return await _read_beside_writers(admin_url, url, seen, [step_of(worker) for worker in workers])


async def _with_snapshot(admin_url: str) -> tuple[Seen, float]:
    async with _naive_database(admin_url) as url, _session(url) as reader:
        seen: Seen = []
        last = ("0", 0)

        async def step() -> bool:
            nonlocal last
            rows = await reader.fetch(_SNAPSHOT, *last, BATCH)
            seen.extend((row["key"], row["n"]) for row in rows)
            last = (rows[-1]["xid"], rows[-1]["id"]) if rows else last
            return bool(rows)

        return await _read_beside_writers(admin_url, url, seen, [step])


async def _with_ours(admin_url: str) -> tuple[Seen, float]:
    name = f"ours_{new_id()[-12:]}"
    for each in (name, f"{name}_bus"):
        await provision.create_database(admin_url, each)
    url, bus_url = _url(admin_url, name), _url(admin_url, f"{name}_bus")
    await migrate(url, None)
    await ensure_schema(bus_url)
    outbox = Outbox("bench")
    async with contextlib.AsyncExitStack() as stack:
        database = await Database.open(url, max_size=WRITERS)
        stack.push_async_callback(database.close)
        writing, reading = await open_transport(bus_url, member="relay"), await open_transport(bus_url, member="reader")
        stack.push_async_callback(writing.close)
        stack.push_async_callback(reading.close)
        relay = asyncio.create_task(Relay(url, writing, outbox).run())
        stack.callback(relay.cancel)
        subscription = await reading.subscribe("bench", ["bench"])
        stack.push_async_callback(subscription.close)
        seen: Seen = []

        async def step() -> bool:
            batch = await subscription.fetch(BATCH, POLL_S)
            seen.extend(_carried(message) for message in batch.messages)
            return bool(batch.messages)

        async def write(key: str, n: int, pause_s: float) -> None:
            async with database.transaction() as tx:
                await outbox.add(tx, Carried(n=n), key=key, version=n)
                await asyncio.sleep(pause_s)

        async with _reading([step]):
            await _write_all(write)
            await _until_quiet(seen)
            delayed_s = await _delay_by_neighbour(admin_url, lambda: write("late", 1, 0.0), seen)
        return seen[:-1], delayed_s


def _carried(message: Delivered) -> tuple[str, int]:
    return message.key, int(msgspec.json.decode(message.value)["data"]["n"])


async def _read_beside_writers(
    admin_url: str, url: str, seen: Seen, steps: Sequence[Callable[[], Awaitable[bool]]]
) -> tuple[Seen, float]:
    async with asyncpg.create_pool(url, min_size=WRITERS, max_size=WRITERS) as pool:

        async def write(key: str, n: int, pause_s: float) -> None:
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute("INSERT INTO naive_outbox (key, n) VALUES ($1, $2)", key, n)
                await asyncio.sleep(pause_s)

        async with _reading(steps):
            await _write_all(write)
            await _until_quiet(seen)
            delayed_s = await _delay_by_neighbour(admin_url, lambda: write("late", 1, 0.0), seen)
        return [each for each in seen if each[0] != "late"], delayed_s


async def _write_all(write: Callable[[str, int, float], Awaitable[None]]) -> None:
    """Every writer has keys of its own, so the order within a key is the order of its commits."""

    async def writer(number: int) -> None:
        chance = random.Random(number)
        counts: dict[str, int] = defaultdict(int)
        for _ in range(EVENTS_EACH):
            key = f"{number}-{chance.randrange(KEYS_EACH)}"
            counts[key] += 1
            await write(key, counts[key], chance.random() ** 3 * LONGEST_MS / 1000)

    await asyncio.gather(*(writer(number) for number in range(WRITERS)))


@contextlib.asynccontextmanager
async def _reading(steps: Sequence[Callable[[], Awaitable[bool]]]) -> AsyncIterator[None]:
    async def read(step: Callable[[], Awaitable[bool]]) -> None:
        while True:
            if not await step():
                await asyncio.sleep(POLL_S)

    readers = [asyncio.create_task(read(step)) for step in steps]
    try:
        yield
    finally:
        for reader in readers:
            reader.cancel()
        for ended in await asyncio.gather(*readers, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended


async def _until_quiet(seen: Seen) -> None:
    """Until nothing came for `QUIET_S`: what has not come by then never will."""
    count, since_s = len(seen), time.monotonic()
    while time.monotonic() - since_s < QUIET_S:
        await asyncio.sleep(POLL_S)
        if len(seen) != count:
            count, since_s = len(seen), time.monotonic()


async def _delay_by_neighbour(admin_url: str, write_one: Callable[[], Awaitable[None]], seen: Seen) -> float:
    """Seconds until one event came through while a transaction in another database was open for `NEIGHBOUR_S`."""

    async def neighbour() -> None:
        async with _session(admin_url) as session, session.transaction():
            await session.execute("SELECT pg_current_xact_id()")
            begun.set()
            await asyncio.sleep(NEIGHBOUR_S)

    begun = asyncio.Event()
    holding = asyncio.create_task(neighbour())
    await begun.wait()
    count, started_s = len(seen), time.monotonic()
    await write_one()
    while len(seen) == count and time.monotonic() - started_s < NEIGHBOUR_S + QUIET_S:
        await asyncio.sleep(POLL_S)
    delayed_s = time.monotonic() - started_s
    await holding
    return delayed_s


def _turned_round(seen: Seen) -> int:
    """Events that came after a later one of their key."""
    latest: dict[str, int] = defaultdict(int)
    late = 0
    for key, n in seen:
        late += n < latest[key]
        latest[key] = max(latest[key], n)
    return late


@contextlib.asynccontextmanager
async def _naive_database(admin_url: str) -> AsyncIterator[str]:
    name = f"naive_{new_id()[-12:]}"
    await provision.create_database(admin_url, name)
    url = _url(admin_url, name)
    async with _session(url) as session:
        await session.execute(_TABLE)
    yield url


@contextlib.asynccontextmanager
async def _session(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        connection.terminate()


def _url(admin_url: str, database: str) -> str:
    return f"{admin_url.rpartition('/')[0]}/{database}"
