"""What only the bus in PostgreSQL has to prove: its schema, its sessions, its independence of other transactions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import asyncpg
import pytest

from tests.messaging_parts import Bus, Wire, drain, ends, message, number, until
from tradewind.chassis.errors import Unavailable
from tradewind.chassis.postgres import Database, Record, Statements
from tradewind.chassis.session import Session
from tradewind.chassis.shares import Shares, Unit
from tradewind.chassis.transport import Message, open_transport, partition_of
from tradewind.chassis.transport.postgres import PostgresTransport, ensure_schema, missing_steps


@pytest.fixture
async def bus(empty_database: Callable[[], Awaitable[str]]) -> AsyncIterator[Bus]:
    url = await empty_database()
    await ensure_schema(url)
    bus = Bus(url)
    yield bus
    await bus.close()


async def append(connection: asyncpg.Connection, messages: Sequence[Message]) -> None:
    """Write as `publish` does, on a connection of the test's own."""
    columns = zip(
        *(
            (
                each.topic,
                partition_of(each.key, 8),
                each.key,
                each.id,
                each.type,
                each.value,
                f'{{"n":"{number(each)}"}}',
            )
            for each in messages
        ),
        strict=True,
    )
    await connection.execute("SELECT append($1, $2, $3, $4::uuid[], $5, $6, $7)", *map(list, columns))


async def test_the_schema_is_made_once_by_however_many(empty_database: Callable[[], Awaitable[str]]) -> None:
    url = await empty_database()
    database = await Database.open(url)
    missing = await missing_steps(database)
    assert missing > 0
    applied = await asyncio.gather(*(ensure_schema(url) for _ in range(4)))
    assert sorted(applied) == [0, 0, 0, missing]
    assert await missing_steps(database) == 0
    await database.close()


async def test_no_transaction_anywhere_holds_up_the_bus(bus: Bus, empty_database: Callable[[], Awaitable[str]]) -> None:
    connections = [await asyncpg.connect(url) for url in (await empty_database(), bus.url)]
    for connection in connections:
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await connection.execute("CREATE TABLE held (n int)")
    transport = await bus.transport()
    subscription = await transport.subscribe("g", ["parcel"])
    started_s = time.monotonic()
    for n in range(20):
        await transport.publish([message("k", n)])
        assert [number(each) for each in await drain(subscription, 1)] == [n]
    assert time.monotonic() - started_s < 3.0
    await subscription.close()
    for connection in connections:
        await connection.close()


async def test_a_writer_in_the_middle_of_its_transaction_is_waited_for_not_skipped(bus: Bus) -> None:
    transport = await bus.transport()
    await transport.publish([message("k", 0)])
    slow = await asyncpg.connect(bus.url)
    transaction = slow.transaction()
    await transaction.start()
    await append(slow, [message("k", 1)])
    behind = asyncio.create_task(transport.publish([message("k", 2)]))
    subscription = await (await bus.transport("reader")).subscribe("g", ["parcel"])
    assert [number(each) for each in await drain(subscription, 1)] == [0]
    assert not (await subscription.fetch(10, 0.3)).messages
    assert not behind.done()
    await transaction.commit()
    await behind
    assert [number(each) for each in await drain(subscription, 2)] == [1, 2]
    await subscription.close()
    await slow.close()


async def test_all_writers_take_their_locks_in_one_order(bus: Bus) -> None:
    """Whichever partition a writer has to wait for, it holds those before it and none behind, whatever the planner does."""
    names = ("nestloop", "mergejoin", "sort", "indexscan", "bitmapscan")
    planned = {f"enable_{name}": "off" for name in names}
    writer = await asyncpg.connect(bus.url, server_settings=planned)
    holder, looker = await asyncpg.connect(bus.url), await asyncpg.connect(bus.url)
    transport = await bus.transport()
    messages = sorted((message(f"k{n}", n) for n in range(64)), key=lambda each: -partition_of(each.key, 8))
    for each in messages:
        # One by one: the rows of the table now lie from the last partition to the first.
        await transport.publish([each])

    async def waits() -> bool:
        return bool(await looker.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

    for held in (1, 4, 6):
        async with holder.transaction():
            await holder.execute("SELECT FROM partition WHERE partition = $1 FOR UPDATE", held)
            writing = asyncio.create_task(append(writer, messages))
            await until(waits)
            free = await looker.fetch("SELECT partition FROM partition FOR UPDATE SKIP LOCKED")
            assert sorted(row[0] for row in free) == list(range(held + 1, 8))
        await writing
    for connection in (writer, holder, looker):
        await connection.close()


class _Slow(Statements):
    """A session on which, between looking and taking, somebody else is quicker."""

    def __init__(self, session: Session, quicker: Callable[[], Awaitable[object]]) -> None:
        self._session = session
        self._quicker = quicker

    async def rows(self, sql: str, *args: object) -> list[Record]:
        found = await self._session.rows(sql, *args)
        await self._quicker()
        return found

    async def value(self, sql: str, *args: object) -> object:
        return await self._session.value(sql, *args)


async def test_who_looks_first_and_takes_last_has_nothing(bus: Bus) -> None:
    mine, theirs = Session(bus.url, application_name="mine"), Session(bus.url, application_name="theirs")
    await mine.open()
    await theirs.open()
    shares = Shares(_Slow(mine, lambda: theirs.value("SELECT pg_try_advisory_lock(7, 2)")), {7: 4})
    await shares.enter()
    gained, surplus = await shares.balance()
    assert gained == shares.held == {Unit(7, 0), Unit(7, 1), Unit(7, 3)}
    assert not surplus
    await mine.close()
    await theirs.close()


async def test_what_nobody_announced_is_found_by_the_poll(bus: Bus) -> None:
    subscription = await (await bus.transport()).subscribe("g", ["parcel"])
    await subscription.fetch(10, 0.0)
    connection = await asyncpg.connect(bus.url)
    await append(connection, [message("k", 0)])
    assert [number(each) for each in await drain(subscription, 1, within_s=2.0)] == [0]
    await connection.close()
    await subscription.close()


async def test_a_cut_wire_is_unavailable_and_mended_it_goes_on(bus: Bus) -> None:
    async with Wire(bus.url) as wire:
        transport = PostgresTransport(wire.url)
        subscription = await transport.subscribe("g", ["parcel"])
        await transport.publish([message("k", n) for n in range(5)])
        found = await drain(subscription, 5, commit=False)
        await subscription.commit(ends(found[:3]))
        wire.cut()
        with pytest.raises(Unavailable, match="bus-unavailable"):
            await transport.publish([message("k", 5)])
        with pytest.raises(Unavailable, match="bus-unavailable"):
            await subscription.fetch(10, 1.0)
        with pytest.raises(Unavailable, match="bus-unavailable"):
            await subscription.commit(ends(found))
        wire.mend()
        await transport.publish([message("k", 5)])
        batch = await subscription.fetch(10, 1.0)
        lost, messages = set(batch.lost), list(batch.messages)
        while len(messages) < 3:
            batch = await subscription.fetch(10, 1.0)
            lost |= set(batch.lost)
            messages += batch.messages
        assert len(lost) == 8
        assert [number(each) for each in messages] == [3, 4, 5]
        await subscription.close()
        await transport.close()


async def test_a_connection_that_the_server_ends_is_replaced(bus: Bus) -> None:
    transport = await bus.transport()
    subscription = await (await bus.transport("reader")).subscribe("g", ["parcel"])
    admin = await asyncpg.connect(bus.url)
    await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'reader%'")
    await transport.publish([message("k", 0)])

    async def arrived() -> bool:
        try:
            return bool((await subscription.fetch(10, 0.1)).messages)
        except Unavailable:
            return False

    await until(arrived, within_s=3.0)
    await admin.close()
    await subscription.close()


async def test_the_first_to_name_a_topic_decides_how_many_partitions_it_has(bus: Bus) -> None:
    first, second = PostgresTransport(bus.url, partitions=3), PostgresTransport(bus.url, partitions=20)
    await first.publish([message("k", 0)])
    await second.publish([message("k", 1)])
    assert len(await second.heads(["parcel"])) == 3
    subscription = await second.subscribe("g", ["parcel"])
    assert [number(each) for each in await drain(subscription, 2)] == [0, 1]
    await subscription.close()
    await first.close()
    await second.close()


async def test_only_what_is_old_and_done_for_everybody_is_deleted(bus: Bus) -> None:
    transport, forgetful = await bus.transport(), PostgresTransport(bus.url, retention_s=0.0)
    await transport.publish([message("k", n) for n in range(10)])
    ahead, behind = [await transport.subscribe(group, ["parcel"]) for group in ("ahead", "behind")]
    await drain(ahead, 10)
    place = (await drain(behind, 10, commit=False))[0].place
    await behind.commit({place: 4})
    assert await transport.tidy() == 0
    assert await forgetful.tidy() == 4
    assert await forgetful.tidy() == 0
    late = await transport.subscribe("late", ["parcel"])
    assert [number(each) for each in await drain(late, 6)] == [4, 5, 6, 7, 8, 9]
    for subscription in (ahead, behind, late):
        await subscription.close()
    await forgetful.close()


async def test_an_address_of_no_transport_is_refused() -> None:
    with pytest.raises(ValueError, match="postgresql://"):
        await open_transport("amqp://bus", member="test")
