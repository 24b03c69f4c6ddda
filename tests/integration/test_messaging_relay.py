"""Outbox and relay: what was committed reaches the bus, what was not does not, and every key keeps its order."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import asyncpg
import msgspec
import pytest

from tests.messaging_parts import Bus, Placed, Relaying, Wire, child, drain, running, said, until
from tradewind.chassis import trace
from tradewind.chassis.events import MAX_EVENT_BYTES
from tradewind.chassis.metrics import Metrics
from tradewind.chassis.migrations import migrate
from tradewind.chassis.outbox import SHARDS, Outbox, insert_sql
from tradewind.chassis.pace import BURST
from tradewind.chassis.postgres import Database
from tradewind.chassis.relay import BATCH, BATCH_BYTES, Relay
from tradewind.chassis.transport import Delivered, Message, Transport, open_transport


class Room:
    """A service's database with an outbox, and a bus to carry it to."""

    def __init__(self, url: str, database: Database, bus: Bus) -> None:
        self.url = url
        self.database = database
        self.bus = bus
        self.outbox = Outbox("test")

    async def emit(self, key: str, *numbers: int) -> None:
        """One transaction with these events of a key."""
        async with self.database.transaction() as tx:
            await self.outbox.add_many(tx, [(Placed(n=n), key, n + 1) for n in numbers])

    async def relay(self, outbox: Outbox | None = None, metrics: Metrics | None = None) -> Relay:
        """A further instance's relay."""
        return Relay(self.url, await self.bus.transport(), outbox or self.outbox, metrics=metrics)

    async def pending(self) -> int:
        """Rows in the outbox."""
        return int(await self.database.value("SELECT count(*) FROM outbox"))

    async def log(self, count: int, *, within_s: float = 15.0) -> list[Delivered]:
        """The first `count` messages on the bus, and no more may be there."""
        subscription = await (await self.bus.transport()).subscribe(f"log-{random.random()}", ["parcel"])
        found = await drain(subscription, count, within_s=within_s)
        await subscription.close()
        return found


@pytest.fixture
async def room(bus: Bus, empty_database: Callable[[], Awaitable[str]]) -> AsyncIterator[Room]:
    url = await empty_database()
    await migrate(url, None)
    database = await Database.open(url, max_size=8)
    yield Room(url, database, bus)
    await database.close()


class _Weighing(Relaying):
    """Notes when each batch went, how many messages were in it, and how many bytes."""

    def __init__(self, inner: Transport) -> None:
        super().__init__(inner)
        self.at_s: list[float] = []
        self.counts: list[int] = []
        self.weights: list[int] = []

    async def publish(self, messages: Sequence[Message]) -> None:
        self.at_s.append(time.monotonic())
        self.counts.append(len(messages))
        self.weights.append(sum(len(each.value) for each in messages))
        await super().publish(messages)


def numbers_by_key(log: list[Delivered]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for each in log:
        found[each.key].append(msgspec.json.decode(each.value)["data"]["n"])
    return dict(found)


async def test_what_is_committed_is_published_and_what_is_rolled_back_is_not(room: Room) -> None:
    async with running((await room.relay()).run()):
        with pytest.raises(KeyError):
            async with room.database.transaction() as tx:
                await room.outbox.add(tx, Placed(n=99), key="k", version=1)
                raise KeyError
        with trace.use_traceparent(f"00-{1:032x}-{2:016x}-01"):
            async with room.database.transaction() as tx:
                await room.outbox.add(tx, Placed(n=1, note="hé"), key="k", version=7)
        await room.emit("k", 2, 3)
        first, *others = await room.log(3)
        await until(lambda: _is(room.pending(), 0))
    event = msgspec.json.decode(first.value)
    assert event["data"] == {"n": 1, "note": "hé"}
    assert (event["source"], event["subject"], event["aggregateversion"]) == ("test", "k", 7)
    assert (event["id"], event["type"]) == (first.id, first.type)
    assert event["traceparent"] == first.headers["traceparent"] == f"00-{1:032x}-{2:016x}-01"
    assert numbers_by_key(others) == {"k": [2, 3]}


async def test_commits_that_follow_each_other_share_a_batch(room: Room) -> None:
    gap_s = 1.0
    transport = _Weighing(await room.bus.transport())
    async with running(Relay(room.url, transport, room.outbox, gap_s=gap_s).run()):
        await room.emit("k0", 0)
        await until(lambda: sum(transport.counts) == 1)
        for n in range(1, 21):
            await room.emit(f"k{n}", n)
            await asyncio.sleep(0.03)  # apart, so that they share nothing by chance
        await until(lambda: sum(transport.counts) == 21)
    assert transport.counts[0] == 1, "the first one waited for others"
    assert len(transport.counts) <= 2 + BURST + 1
    assert transport.at_s[-1] - transport.at_s[0] > gap_s / 2


async def _is(value: Awaitable[int], wanted: int) -> bool:
    return await value == wanted


async def test_a_change_and_its_event_in_one_statement(room: Room) -> None:
    await room.database.execute("CREATE TABLE box (id text PRIMARY KEY, version int)")
    await room.database.execute("INSERT INTO box VALUES ('b', 1)")

    async def move(expected: int) -> int:
        async with room.database.transaction() as tx:
            entry = room.outbox.entry(Placed(n=expected), key="b", version=expected + 1)
            room.outbox.announce(tx)
            moved = await tx.value(
                "WITH moved AS (UPDATE box SET version = version + 1 WHERE id = 'b' AND version = $1 RETURNING id),"
                f" event AS ({insert_sql(2)} FROM moved) SELECT count(*) FROM moved",
                expected, *entry,
            )  # fmt: skip
        return int(moved)

    async with running((await room.relay()).run()):
        assert [await move(1), await move(1), await move(2)] == [1, 0, 1]
        assert numbers_by_key(await room.log(2)) == {"b": [1, 2]}
        await until(lambda: _is(room.pending(), 0))


async def test_nothing_is_lost_doubled_or_reordered_under_concurrent_commits(room: Room) -> None:
    """Transactions of very different lengths interleave, so that ids become visible out of order."""
    writers, each = 6, 60
    await room.database.execute("CREATE TABLE parcel (key text PRIMARY KEY, version int)")
    await room.database.execute("INSERT INTO parcel SELECT 'k' || n, 0 FROM generate_series(0, 9) AS n")

    async def write(w: int) -> None:
        chance = random.Random(w)
        for _ in range(each):
            async with room.database.transaction() as tx:
                # In one order, or the writers lock each other out.
                for key in sorted({f"k{chance.randrange(10)}" for _ in range(chance.choice((1, 1, 2)))}):
                    version = await tx.value(
                        "UPDATE parcel SET version = version + 1 WHERE key = $1 RETURNING version", key
                    )
                    await room.outbox.add(tx, Placed(n=version), key=key, version=version)
                await asyncio.sleep(chance.choice((0, 0, 0.002, 0.03)))

    async with running((await room.relay()).run()), running((await room.relay()).run()):
        await asyncio.gather(*map(write, range(writers)))
        rows = await room.database.rows("SELECT key, version FROM parcel")
        expected = {key: list(range(1, version + 1)) for key, version in rows if version}
        log = await room.log(sum(map(len, expected.values())))
        await until(lambda: _is(room.pending(), 0))
    assert numbers_by_key(log) == expected


async def test_an_open_transaction_holds_up_nobody_else(
    room: Room, empty_database: Callable[[], Awaitable[str]]
) -> None:
    held = [await asyncpg.connect(url) for url in (room.url, await empty_database())]
    for connection in held:
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; CREATE TABLE held (n int)")
    late = Outbox("late")
    async with running((await room.relay()).run()), room.database.transaction() as tx:
        # This one has taken a low id and stays open.
        await late.add(tx, Placed(n=0), key="late", version=1)
        started_s = time.monotonic()
        for n in range(10):
            await room.emit(f"k{n % 3}", n)
        log = await room.log(10)
        assert time.monotonic() - started_s < 2.0
        assert "late" not in numbers_by_key(log)
    async with running((await room.relay()).run()):
        assert numbers_by_key(await room.log(11))["late"] == [0]
    for connection in held:
        await connection.close()


async def test_instances_divide_the_shards_and_take_over(room: Room) -> None:
    first, second = await room.relay(), await room.relay()
    async with running(first.run()):
        await until(lambda: len(first._shares.held) == SHARDS)
        async with running(second.run()):
            await until(lambda: len(first._shares.held) == len(second._shares.held) == SHARDS // 2, within_s=4)
            assert not first._shares.held & second._shares.held
            for n in range(40):
                await room.emit(f"k{n % 10}", n)
            log = await room.log(40)
            assert len({each.id for each in log}) == 40
            assert all(numbers == sorted(numbers) for numbers in numbers_by_key(log).values())
        await until(lambda: len(first._shares.held) == SHARDS, within_s=4)


async def test_a_commit_wakes_the_publisher_in_another_process(room: Room) -> None:
    """The instance that commits owns no shard: the wake-up has to go through the database."""
    leader = await room.relay(Outbox("elsewhere"))
    async with running(leader.run()):
        await until(lambda: len(leader._shares.held) == SHARDS)
        follower = await room.relay()
        await follower._session.open()
        took_s = []
        for n in range(15):
            await asyncio.sleep(0.03)
            await room.emit("k", n)
            took_s.append(await until(lambda: _is(room.pending(), 0)))
        await follower._tell.close()
        await follower._session.close()
    # The poll alone takes 0.1 s on average.
    assert sorted(took_s)[7] < 0.09


async def test_a_publisher_killed_before_it_could_delete_loses_nothing(room: Room) -> None:
    for n in range(30):
        await room.emit(f"k{n % 4}", n)
    async with child("relay", room.url, room.bus.url) as process:
        assert await said(process, "published") == "30"
        process.send_signal(signal.SIGKILL)
        await process.wait()
    assert await room.pending() == 30
    async with running((await room.relay()).run()):
        await until(lambda: _is(room.pending(), 0))
    log = await room.log(60)
    ids = [each.id for each in log]
    assert len(set(ids)) == 30
    # Whoever takes each event once sees every key in order.
    firsts = [each for n, each in enumerate(log) if each.id not in ids[:n]]
    assert all(numbers == sorted(numbers) for numbers in numbers_by_key(firsts).values())


async def test_without_the_bus_business_goes_on_and_later_all_is_published(room: Room) -> None:
    metrics = Metrics()
    async with room.bus.wire() as wire:
        transport = await open_transport(wire.url, member="test")
        async with running(Relay(room.url, transport, room.outbox, metrics=metrics).run()):
            await room.emit("k", 0)
            await until(lambda: _is(room.pending(), 0))
            wire.cut()
            started_s = time.monotonic()
            for n in range(1, 50):
                await room.emit("k", n)
            assert time.monotonic() - started_s < 2.0
            await asyncio.sleep(0.3)
            assert await room.pending() == 49
            wire.mend()
            await until(lambda: _is(room.pending(), 0), within_s=8)
        await transport.close()
    log = await room.log(50)
    ids = [each.id for each in log]
    firsts = [each for n, each in enumerate(log) if each.id not in ids[:n]]
    assert numbers_by_key(firsts) == {"k": list(range(50))}
    assert b"outbox_published_events_total 50.0" in await metrics.render()


async def test_without_its_database_the_relay_waits_and_goes_on(room: Room) -> None:
    async with Wire(room.url) as wire:
        relay = Relay(wire.url, await room.bus.transport(), room.outbox)
        async with running(relay.run()):
            await room.emit("k", 0)
            await until(lambda: _is(room.pending(), 0))
            wire.cut()
            await room.emit("k", 1)
            await asyncio.sleep(0.3)
            wire.mend()
            await until(lambda: _is(room.pending(), 0), within_s=8)
    assert numbers_by_key(await room.log(2)) == {"k": [0, 1]}


async def test_a_backlog_of_many_batches_keeps_the_order(room: Room) -> None:
    async with room.database.transaction() as tx:
        for start in range(0, 3 * BATCH, 100):
            await room.outbox.add_many(tx, [(Placed(n=n), f"k{n % 3}", n + 1) for n in range(start, start + 100)])
    async with running((await room.relay()).run()):
        log = await room.log(3 * BATCH)
    assert numbers_by_key(log) == {f"k{k}": list(range(k, 3 * BATCH, 3)) for k in range(3)}


async def test_large_events_go_in_batches_of_bounded_size(room: Room) -> None:
    async with room.database.transaction() as tx:
        for n in range(60):
            await room.outbox.add(tx, Placed(n=n, note="x" * 200_000), key="k", version=n + 1)
    transport = _Weighing(await room.bus.transport())
    async with running(Relay(room.url, transport, room.outbox).run()):
        assert numbers_by_key(await room.log(60)) == {"k": list(range(60))}
        await until(lambda: _is(room.pending(), 0))
    assert max(transport.weights) <= BATCH_BYTES + MAX_EVENT_BYTES
    assert len(transport.weights) == 3
