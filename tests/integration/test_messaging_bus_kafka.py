"""What only the bus on Kafka has to prove: brokers that are killed, members that are taken for dead, foreign producers."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

from tests.messaging_parts import Bus, Placed, child, drain, ends, message, number, running, said, until
from tradewind.chassis.consumer import Consumer, Handlers
from tradewind.chassis.errors import Unavailable
from tradewind.chassis.events import Received
from tradewind.chassis.ids import is_id, new_id
from tradewind.chassis.migrations import migrate
from tradewind.chassis.outbox import Outbox
from tradewind.chassis.postgres import Database, Tx
from tradewind.chassis.relay import Relay
from tradewind.chassis.transport import RETENTION_S, partition_of
from tradewind.chassis.transport.kafka.transport import KafkaTransport
from tradewind.stack.kafka import KafkaEngine
from tradewind.stack.ports import free_port

NOT_RUN = "not run: KAFKA_BOOTSTRAP names a broker that is not ours to kill"


@pytest.fixture
async def bus(kafka_engine: KafkaEngine) -> AsyncIterator[Bus]:
    """An empty bus on a broker that may be killed."""
    if kafka_engine.pid is None:
        await kafka_engine.start()
    bus = Bus(f"{kafka_engine.url}/t{new_id()[-12:]}", kafka_engine)
    yield bus
    await bus.close()


@pytest.fixture
async def database(empty_database: Callable[[], Awaitable[str]]) -> AsyncIterator[Database]:
    url = await empty_database()
    await migrate(url, None)
    database = await Database.open(url)
    await database.execute("CREATE TABLE effect (id bigint GENERATED ALWAYS AS IDENTITY, key text, n int)")
    yield database
    await database.close()


def writing() -> Handlers[None]:
    handlers = Handlers[None]()

    @handlers.on(Placed)
    async def effect(_parts: None, tx: Tx, event: Received[Placed]) -> None:
        await tx.execute("INSERT INTO effect (key, n) VALUES ($1, $2)", event.subject, event.data.n)

    return handlers


async def effects(database: Database) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for key, n in await database.rows("SELECT key, n FROM effect ORDER BY id"):
        found[key].append(n)
    return dict(found)


async def count(database: Database) -> int:
    return int(await database.value("SELECT count(*) FROM effect"))


async def test_a_topic_is_made_with_our_partitions_and_retention(bus: Bus, kafka_engine: KafkaEngine) -> None:
    transport = await bus.transport()
    await transport.publish([message("k")])
    admin = AdminClient({"bootstrap.servers": kafka_engine.bootstrap})
    outside = f"{bus.url.rpartition('/')[2]}.parcel"
    assert len(admin.list_topics(outside, timeout=10).topics[outside].partitions) == 8
    resource = ConfigResource(ConfigResource.Type.TOPIC, outside)
    kept = admin.describe_configs([resource])[resource].result(10)
    assert int(kept["retention.ms"].value) == RETENTION_S * 1e3


async def test_a_topic_that_is_there_keeps_its_number_of_partitions(bus: Bus, kafka_engine: KafkaEngine) -> None:
    admin = AdminClient({"bootstrap.servers": kafka_engine.bootstrap})
    outside = f"{bus.url.rpartition('/')[2]}.parcel"
    admin.create_topics([NewTopic(outside, 3)])[outside].result(10)
    transport = await bus.transport()
    await transport.publish([message(f"k{n}", n) for n in range(50)])
    assert len(await transport.heads(["parcel"])) == 3
    found = [each async for chunk in transport.read(await transport.heads()) for each in chunk]
    assert {each.place for each in found} == {("parcel", partition_of(f"k{n}", 3)) for n in range(50)}


async def test_what_a_stranger_writes_has_an_id_that_stays(bus: Bus, kafka_engine: KafkaEngine) -> None:
    transport = await bus.transport()
    first = await transport.subscribe("g", ["parcel"])
    stranger = Producer({"bootstrap.servers": kafka_engine.bootstrap})
    for value in (b"\xff\xfe", b"{}"):
        stranger.produce(f"{bus.url.rpartition('/')[2]}.parcel", value)
    assert stranger.flush(10) == 0
    found = await drain(first, 2, commit=False)
    assert all(is_id(each.id) for each in found)
    await first.close()
    second = await transport.subscribe("g", ["parcel"])
    assert {each.id for each in await drain(second, 2)} == {each.id for each in found}
    await second.close()


async def test_two_platforms_on_one_cluster_do_not_meet(bus: Bus, kafka_engine: KafkaEngine) -> None:
    other = Bus(f"{kafka_engine.url}/other{new_id()[-8:]}")
    ours, theirs = await bus.transport(), await other.transport()
    await ours.publish([message("k", 1)])
    await theirs.publish([message("k", 2)])
    mine, yours = await ours.subscribe("g", ["parcel"]), await theirs.subscribe("g", ["parcel"])
    assert [number(each) for each in await drain(mine, 1)] == [1]
    assert [number(each) for each in await drain(yours, 1)] == [2]
    assert await ours.groups() == ["g"]
    assert {topic for topic, _ in await ours.heads()} == {"parcel"}
    await mine.close()
    await yours.close()
    await other.close()


async def test_nobody_at_the_address_is_said_at_once(bus: Bus) -> None:
    port = free_port()
    transport = KafkaTransport(f"kafka://127.0.0.1:{port}")
    started_s = time.monotonic()
    calls = [
        transport.publish([message("k")]),
        transport.subscribe("g", ["parcel"]),
        transport.heads(),
        transport.positions("g"),
        transport.groups(),
    ]
    for answer in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(answer, Unavailable)
        assert answer.code == "bus-unavailable"
        assert f"127.0.0.1:{port}" in answer.detail
    assert time.monotonic() - started_s < 20
    await transport.close()


async def test_a_broker_killed_while_we_publish_loses_nothing_acknowledged(bus: Bus, kafka_engine: KafkaEngine) -> None:
    transport = await bus.transport()
    acknowledged: list[int] = []
    refused = 0
    stop = asyncio.Event()

    async def publish() -> None:
        # Like the relay: what was not acknowledged is sent again, first.
        nonlocal refused
        n = 0
        while not stop.is_set():
            batch = list(range(n, n + 20))
            try:
                await transport.publish([message(f"k{i % 5}", i) for i in batch])
            except Unavailable:
                refused += 1
            else:
                acknowledged.extend(batch)
                n += 20

    publishing = asyncio.create_task(publish())
    await until(lambda: len(acknowledged) > 200)
    await kafka_engine.kill()
    before = len(acknowledged)
    await asyncio.sleep(0.3)
    await kafka_engine.start()
    await until(lambda: len(acknowledged) > before + 200, within_s=30)
    stop.set()
    await publishing
    heads = await transport.heads()
    found = [each async for chunk in transport.read(heads) for each in chunk]
    firsts: dict[str, list[int]] = defaultdict(list)
    for each in found:
        if number(each) not in firsts[each.key]:
            firsts[each.key].append(number(each))
    assert set(acknowledged) <= {number(each) for each in found}
    # Whoever takes each event once sees every key in order.
    assert all(numbers == sorted(numbers) for numbers in firsts.values())


async def test_a_publication_that_is_given_up_is_not_sent_later_by_itself(bus: Bus, kafka_engine: KafkaEngine) -> None:
    transport = await bus.transport()
    await transport.publish([message("k", 0)])
    await kafka_engine.kill()
    with pytest.raises(Unavailable, match="bus-unavailable"):
        await transport.publish([message("k", 1), message("k", 2)])
    await kafka_engine.start()
    await transport.publish([message("k", 3)])
    found = [each async for chunk in transport.read(await transport.heads()) for each in chunk]
    assert [number(each) for each in found] == [0, 3]


async def test_a_consumer_killed_in_a_batch_takes_nothing_twice(
    bus: Bus, database: Database, empty_database: Callable[[], Awaitable[str]]
) -> None:
    transport = await bus.transport()
    await transport.publish([message(f"k{n % 3}", n) for n in range(40)])
    url = await database.value("SELECT current_database()")
    dsn = (await empty_database()).rpartition("/")[0] + f"/{url}"
    async with child("consumer", dsn, bus.url, "g") as process:
        for _ in range(12):
            await said(process, "handling", within_s=20)
        process.send_signal(signal.SIGKILL)
        await process.wait()
    async with running(Consumer("g", database, transport, writing(), None).run()):
        await until(lambda: _at_least(database, 40), within_s=20)
    assert await effects(database) == {f"k{k}": list(range(k, 40, 3)) for k in range(3)}


async def test_a_zombie_moves_no_position(bus: Bus) -> None:
    """A member that was frozen until it was taken for dead wakes up and commits what it had done."""
    transport = await bus.transport()
    await transport.publish([message(f"k{n}", n) for n in range(32)])
    async with child("zombie", bus.url, "g", "parcel") as process:
        await said(process, "holds", within_s=20)
        process.send_signal(signal.SIGSTOP)
        heir = await transport.subscribe("g", ["parcel"])
        found = await drain(heir, 32, within_s=25, commit=False)
        kept = await transport.positions("g")
        process.send_signal(signal.SIGCONT)
        assert process.stdin is None
        await said(process, "committed", within_s=20)
        assert await transport.positions("g") == kept
        await heir.commit(ends(found))
        assert await transport.positions("g") == await transport.heads()
        await heir.close()


async def test_members_that_come_and_go_under_load_double_nothing_in_effect(bus: Bus, database: Database) -> None:
    total = 1_200
    transports = [await bus.transport(f"m{n}") for n in range(3)]
    tasks = [asyncio.create_task(Consumer("g", database, transports[0], writing(), None, batch=20).run())]

    async def publish() -> None:
        for n in range(0, total, 20):
            await transports[0].publish([message(f"k{i % 16}", i) for i in range(n, n + 20)])

    publishing = asyncio.create_task(publish())
    for n in (1, 2):
        await until(lambda n=n: _at_least(database, 200 * n), within_s=30)
        tasks.append(asyncio.create_task(Consumer("g", database, transports[n], writing(), None, batch=20).run()))
    await until(lambda: _at_least(database, 600), within_s=30)
    tasks[0].cancel()
    await publishing
    await until(lambda: _at_least(database, total), within_s=40)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert await effects(database) == {f"k{k}": list(range(k, total, 16)) for k in range(16)}


async def test_a_broker_that_is_away_for_ten_seconds_delays_and_loses_nothing(
    bus: Bus, database: Database, kafka_engine: KafkaEngine, empty_database: Callable[[], Awaitable[str]]
) -> None:
    name = await database.value("SELECT current_database()")
    dsn = (await empty_database()).rpartition("/")[0] + f"/{name}"
    outbox = Outbox("test")
    transport = await bus.transport()
    relay = Relay(dsn, await bus.transport("relay"), outbox)
    async with running(relay.run()), running(Consumer("g", database, transport, writing(), None).run()):

        async def emit(*numbers: int) -> None:
            async with database.transaction() as tx:
                await outbox.add_many(tx, [(Placed(n=n), f"k{n % 4}", n // 4 + 1) for n in numbers])

        await emit(*range(40))
        await until(lambda: _at_least(database, 40), within_s=20)
        await kafka_engine.kill()
        away_until_s = time.monotonic() + 10.0
        n = 40
        while time.monotonic() < away_until_s:
            await emit(*range(n, n + 4))
            n += 4
            await asyncio.sleep(0.1)
        await kafka_engine.start()
        await until(lambda: _at_least(database, n), within_s=20, what="everything after the broker came back")
    assert await effects(database) == {f"k{k}": list(range(k, n, 4)) for k in range(4)}


async def _at_least(database: Database, wanted: int) -> bool:
    return await count(database) >= wanted


async def test_positions_are_told_while_the_groups_coordinator_is_starting(tmp_path: Path) -> None:
    """A broker that was never asked for a group makes the topic of commits first. The admin request for it ended the process
    with a segmentation fault, so it is asked from one of its own.
    """
    engine = KafkaEngine(tmp_path / "kafka", proxy_port=free_port())
    await engine.start()
    try:
        asking = f"""
import asyncio
from tradewind.chassis.transport import Message
from tradewind.chassis.transport.kafka.transport import KafkaTransport
async def main():
    transport = KafkaTransport("{engine.url}/young")
    await transport.publish([Message(topic="t", key="k", id="{new_id()}", type="a.b.v1", value=b"")])
    for group in ("a", "b", "c"):
        assert await transport.positions(group) == {{}}
    await transport.close()
asyncio.run(main())
"""
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", asking)
        async with asyncio.timeout(60):
            assert await process.wait() == 0
    finally:
        await engine.stop()
