"""The consumer: exactly one effect an event, in order for each key, whatever fails."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime

import pytest

from tests.messaging_parts import Bus, Placed, Shipped, Wire, child, delivered, drain, message, running, said, until
from tradewind.chassis import inbox, trace
from tradewind.chassis.consumer import Consumer, Handlers, RetryPolicy
from tradewind.chassis.deadletters import DeadLetter, DeadLetters
from tradewind.chassis.errors import Conflict, Invalid, NotFound, Unavailable
from tradewind.chassis.events import Envelope, Event, Received, encode
from tradewind.chassis.ids import new_id
from tradewind.chassis.metrics import Metrics
from tradewind.chassis.migrations import migrate
from tradewind.chassis.outbox import Outbox
from tradewind.chassis.pace import BURST
from tradewind.chassis.postgres import Database, Tx
from tradewind.chassis.relay import Relay
from tradewind.chassis.transport import Message, Transport

QUICK = RetryPolicy(attempts=3, first_s=0.05, most_s=0.1)
SLOW = RetryPolicy(attempts=3, first_s=2.0, most_s=2.0)


class Room:
    """A service's database with a table `effect`, the bus, and consumers on demand."""

    def __init__(self, url: str, database: Database, bus: Bus, transport: Transport) -> None:
        self.url = url
        self.database = database
        self.bus = bus
        self.transport = transport
        self.letters = DeadLetters(database)

    def consumer(self, handlers: Handlers[None], **options: object) -> Consumer[None]:
        """A member of the group `g`."""
        arguments: dict[str, object] = {"retries": QUICK, **options}
        return Consumer("g", self.database, self.transport, handlers, None, **arguments)  # type: ignore[arg-type]

    async def effects(self) -> dict[str, list[int]]:
        """What took effect, by key, in order."""
        found: dict[str, list[int]] = defaultdict(list)
        for key, n in await self.database.rows("SELECT key, n FROM effect ORDER BY id"):
            found[key].append(n)
        return dict(found)

    async def count(self) -> int:
        """How much took effect."""
        return int(await self.database.value("SELECT count(*) FROM effect"))

    async def done(self, count: int, *, within_s: float = 10.0) -> None:
        """Wait for so many effects."""

        async def enough() -> bool:
            return await self.count() >= count

        await until(enough, within_s=within_s, what=f"{count} effects")

    async def caught_up(self) -> None:
        """Wait until the group's positions are at the heads."""

        async def level() -> bool:
            return await self.transport.positions("g") == await self.transport.heads()

        await until(level, what="positions at the heads")


@pytest.fixture
async def room(bus: Bus, empty_database: Callable[[], Awaitable[str]]) -> AsyncIterator[Room]:
    url = await empty_database()
    await migrate(url, None)
    database = await Database.open(url)
    await database.execute("CREATE TABLE effect (id bigint GENERATED ALWAYS AS IDENTITY, key text, n int)")
    yield Room(url, database, bus, await bus.transport())
    await database.close()


async def write(tx: Tx, event: Received[Placed]) -> None:
    await tx.execute("INSERT INTO effect (key, n) VALUES ($1, $2)", event.subject, event.data.n)


def writing(trouble: Callable[[Received[Placed]], None] | None = None) -> Handlers[None]:
    """Handlers that write the effect, after which `trouble` may raise."""
    handlers = Handlers[None]()

    @handlers.on(Placed)
    async def effect(_parts: None, tx: Tx, event: Received[Placed]) -> None:
        await write(tx, event)
        if trouble is not None:
            trouble(event)

    return handlers


async def test_every_event_takes_effect_once_and_in_the_order_of_its_key(room: Room) -> None:
    sent = [message(f"k{n % 9}", n) for n in range(300)]
    # The relay may publish twice: side by side, and much later.
    await room.transport.publish(sent[:100] + sent[50:100])
    metrics = Metrics()
    async with running(room.consumer(writing(), metrics=metrics).run()):
        await room.transport.publish(sent[100:])
        await room.transport.publish(sent[:20])
        await room.done(300)
        await room.caught_up()
    effects = await room.effects()
    assert effects == {f"k{k}": list(range(k, 300, 9)) for k in range(9)}
    text = (await metrics.render()).decode()
    assert 'consumer_handled_events_total{group="g",type="parcel.placed.v1"} 300.0' in text


async def test_a_batch_is_one_call_and_one_transaction(room: Room) -> None:
    handlers = Handlers[None]()
    calls: list[tuple[str, int]] = []

    @handlers.on_batch(Placed)
    async def placed(_parts: None, tx: Tx, events: Sequence[Received[Placed]]) -> None:
        calls.append((await tx.value("SELECT pg_current_xact_id()::text"), len(events)))
        await tx.many("INSERT INTO effect (key, n) VALUES ($1, $2)", [(e.subject, e.data.n) for e in events])

    @handlers.on_batch(Shipped)
    async def shipped(_parts: None, tx: Tx, events: Sequence[Received[Shipped]]) -> None:
        calls.append((await tx.value("SELECT pg_current_xact_id()::text"), len(events)))

    keys = [f"k{n}" for n in range(50)]
    await room.transport.publish([message(key, event=kind(n=0)) for key in keys for kind in (Placed, Shipped)])
    async with running(room.consumer(handlers).run()):
        await room.caught_up()
    transactions = {transaction for transaction, _ in calls}
    assert sum(count for _, count in calls) == 100
    # Brokers hand out what lies ready partition by partition, PostgreSQL all at once.
    assert len(transactions) <= (8 if room.bus.kafka else 1)
    assert len(calls) <= 2 * len(transactions)
    assert await room.count() == 50


async def test_events_that_follow_each_other_share_a_transaction(room: Room) -> None:
    handlers = Handlers[None]()
    calls: list[int] = []

    @handlers.on_batch(Placed)
    async def placed(_parts: None, _tx: Tx, events: Sequence[Received[Placed]]) -> None:
        calls.append(len(events))

    async with running(room.consumer(handlers, linger_s=1.5).run()):
        await room.transport.publish([message("k0")])
        await until(lambda: len(calls) == 1)
        for n in range(1, 21):
            await room.transport.publish([message(f"k{n}", n)])
            await asyncio.sleep(0.03)  # apart, so that they share nothing by chance
        await until(lambda: sum(calls) == 21)
    assert calls[0] == 1, "the first one waited for others"
    assert len(calls) <= 2 + BURST + 1


async def test_what_handlers_emit_is_part_of_the_same_transaction(room: Room) -> None:
    outbox = Outbox("test")
    handlers = Handlers[None]()

    @handlers.on(Placed)
    async def answer(_parts: None, tx: Tx, event: Received[Placed]) -> None:
        await outbox.add(tx, Shipped(n=event.data.n), key=event.subject, version=event.version + 1)
        if event.data.n == 1:
            raise Invalid("never")

    await room.transport.publish([message("a", 0), message("b", 1)])
    reader = await room.transport.subscribe("reader", ["parcel"])
    async with running(room.consumer(handlers).run()), running(Relay(room.url, room.transport, outbox).run()):
        found = await drain(reader, 3)
        assert [(each.key, each.type) for each in found if each.type == Shipped.TYPE] == [("a", Shipped.TYPE)]
        await until(lambda: _some(room.letters))
    assert not (await reader.fetch(10, 0.2)).messages
    await reader.close()


async def _some(letters: DeadLetters, count: int = 1) -> bool:
    return len(await letters.list()) >= count


async def test_a_poison_message_is_given_up_and_holds_up_nobody(room: Room) -> None:
    def trouble(event: Received[Placed]) -> None:
        if event.subject == "bad" and event.data.n == 1:
            raise RuntimeError("no way\nsecond line")

    sent = [message(key, n) for n in range(4) for key in ("a", "bad", "c")]
    async with running(room.consumer(writing(trouble), retries=SLOW).run()):
        await room.transport.publish(sent)
        # Its own key waits for the retries, everybody else is through long before.
        await room.done(9, within_s=1.9)
        assert await room.effects() == {"a": [0, 1, 2, 3], "bad": [0], "c": [0, 1, 2, 3]}
        poison = sent[4]
        positions = await room.transport.positions("g")
        found = await _place_of(room, poison)
        assert positions[found[0], found[1]] <= found[2]
        await room.transport.publish([message("a", 4)])
        await room.done(10, within_s=1.0)
        await until(lambda: _some(room.letters))
        await room.caught_up()
    assert await room.effects() == {"a": [0, 1, 2, 3, 4], "bad": [0], "c": [0, 1, 2, 3]}
    (letter,) = await room.letters.list()
    assert (letter.event_id, letter.key, letter.type, letter.value) == (poison.id, "bad", poison.type, poison.value)
    assert (letter.error, letter.detail, letter.attempts, letter.state) == ("RuntimeError", "no way", 3, "dead")
    assert letter.headers == {"n": "1"}
    assert letter.last_failed_at > letter.first_failed_at


async def _place_of(room: Room, wanted: Message) -> tuple[str, int, int]:
    reader = await room.transport.subscribe(f"find-{new_id()}", ["parcel"])
    for _ in range(20):
        for each in (await reader.fetch(100, 0.2)).messages:
            if each.id == wanted.id:
                await reader.close()
                return (*each.place, each.offset)
    raise AssertionError(wanted)


async def test_a_key_keeps_its_order_through_retries(room: Room) -> None:
    tries: dict[tuple[str, int], int] = defaultdict(int)

    def trouble(event: Received[Placed]) -> None:
        tries[event.subject, event.data.n] += 1
        # Every third message of every key needs a second try alone, after the batch's failures.
        if event.data.n % 3 == 1 and tries[event.subject, event.data.n] < 8:
            raise Conflict("not-yet")

    async with running(
        room.consumer(writing(trouble), retries=RetryPolicy(attempts=20, first_s=0.01, most_s=0.02)).run()
    ):
        for n in range(0, 12, 2):
            await room.transport.publish([message(f"k{k}", n + i) for i in range(2) for k in range(5)])
        await room.done(60, within_s=20)
        await room.caught_up()
    assert await room.effects() == {f"k{k}": list(range(12)) for k in range(5)}
    assert await room.letters.list() == []


class PlacedV2(Event, frozen=True, kw_only=True):
    TYPE = "parcel.placed.v2"
    TOPIC = "parcel"


async def test_what_will_never_work_is_given_up_at_once_and_what_is_foreign_passed_over(room: Room) -> None:
    def trouble(event: Received[Placed]) -> None:
        if event.subject == "invalid":
            raise Invalid("broken-rule", "It says token eyJhbGciOi.eyJzdWIi.c2ln")

    broken = message("broken", 0)
    sent = [
        Message(topic="parcel", key="broken", id=broken.id, type=broken.type, value=b'{"no": "event"}'),
        message("newer", event=Placed(n=0)),
        message("foreign", event=Shipped(n=0)),
        message("invalid", 0),
        message("fine", 0),
    ]
    envelope = Envelope(
        id=sent[1].id,
        source="t",
        type=PlacedV2.TYPE,
        subject="newer",
        time=datetime.now(UTC),
        aggregateversion=1,
        data=PlacedV2(),
    )
    sent[1] = Message(topic="parcel", key="newer", id=sent[1].id, type=PlacedV2.TYPE, value=encode(envelope))
    async with running(room.consumer(writing(trouble), retries=RetryPolicy(attempts=50, first_s=5.0)).run()):
        await room.transport.publish(sent)
        await room.done(1)
        await until(lambda: _some(room.letters, 3), within_s=3)
        await room.caught_up()
    letters = {letter.key: letter for letter in await room.letters.list()}
    assert letters.keys() == {"broken", "newer", "invalid"}
    assert letters["newer"].detail == (
        "parcel.placed.v2 came, newer than what is handled here (parcel.placed.v1): upgrade this consumer, then replay it"
    )
    assert (letters["newer"].error, letters["newer"].attempts) == ("UnhandledVersion", 1)
    assert letters["broken"].error == "Undecodable"
    assert letters["invalid"].detail == "broken-rule: It says token ***"
    assert await room.effects() == {"fine": [0]}


async def test_a_lost_database_is_no_messages_fault(room: Room) -> None:
    async with Wire(room.url) as wire:
        database = await Database.open(wire.url)
        started = asyncio.Event()
        handlers = Handlers[None]()

        @handlers.on(Placed)
        async def effect(_parts: None, tx: Tx, event: Received[Placed]) -> None:
            started.set()
            await write(tx, event)
            await tx.value("SELECT pg_sleep(0.1)")

        consumer = Consumer(
            "g", database, room.transport, handlers, None, retries=RetryPolicy(attempts=1, first_s=0.01), batch=10
        )
        async with running(consumer.run()):
            await room.transport.publish([message(f"k{n % 3}", n) for n in range(20)])
            await started.wait()
            for _ in range(3):
                wire.cut()
                await asyncio.sleep(0.3)
                wire.mend()
                await asyncio.sleep(0.2)
            await room.done(20, within_s=15)
            await room.caught_up()
        await database.close()
    assert await room.effects() == {f"k{k}": list(range(k, 20, 3)) for k in range(3)}
    assert await room.letters.list() == []


async def test_a_lost_bus_is_waited_for(room: Room) -> None:
    async with room.bus.wire() as wire:
        bus = Bus(wire.url)
        consumer = Consumer("g", room.database, await bus.transport(), writing(), None)
        async with running(consumer.run()):
            await room.transport.publish([message("k", n) for n in range(10)])
            await room.done(10)
            wire.cut()
            await room.transport.publish([message("k", n) for n in range(10, 20)])
            await asyncio.sleep(0.3)
            wire.mend()
            await room.done(20)
            await room.caught_up()
        await bus.close()
    assert await room.effects() == {"k": list(range(20))}


async def test_a_message_that_breaks_its_own_connection_is_poison_all_the_same(room: Room) -> None:
    handlers = Handlers[None]()

    @handlers.on(Placed)
    async def effect(_parts: None, tx: Tx, event: Received[Placed]) -> None:
        await write(tx, event)
        if event.subject == "bad":
            await tx.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    async with running(room.consumer(handlers).run()):
        await room.transport.publish([message("bad", 0), message("a", 0), message("bad", 1)])
        await until(lambda: _some(room.letters))
        await room.caught_up()
    assert await room.effects() == {"a": [0]}
    assert [letter.state for letter in await room.letters.list(state=None)] == ["dead", "behind"]


async def test_a_neighbour_that_is_away_is_waited_for_without_giving_up(room: Room) -> None:
    tries = 0

    def trouble(_event: Received[Placed]) -> None:
        nonlocal tries
        tries += 1
        if tries < 12:
            raise Unavailable("payment-unavailable")

    async with running(
        room.consumer(writing(trouble), retries=RetryPolicy(attempts=2, first_s=0.01, most_s=0.02)).run()
    ):
        await room.transport.publish([message("k", 0)])
        await room.done(1)
    assert await room.letters.list() == []


async def test_events_delivered_again_after_a_crash_change_nothing(room: Room) -> None:
    await room.transport.publish([message("k", n) for n in range(20)])
    async with running(room.consumer(writing()).run()):
        await room.done(20)
        await room.caught_up()
    # As if it had died between the commit of the effects and that of the positions.
    await room.bus.rewind("g")
    async with running(room.consumer(writing()).run()):
        await room.transport.publish([message("k", 20)])
        await room.done(21)
        await room.caught_up()
    assert await room.effects() == {"k": list(range(21))}


async def test_a_dead_letter_delivered_again_stays_dead(room: Room) -> None:
    mended = False

    def trouble(_event: Received[Placed]) -> None:
        if not mended:
            raise Invalid("not-now")

    await room.transport.publish([message("k", 0)])
    async with running(room.consumer(writing(trouble)).run()):
        await until(lambda: _some(room.letters))
    mended = True
    await room.bus.rewind("g")
    async with running(room.consumer(writing(trouble)).run()):
        await room.caught_up()
        # It takes effect by a replay, and then only once.
        assert await room.count() == 0
        await room.letters.replay((await room.letters.list())[0].id)
        await room.done(1)


async def test_two_members_and_one_of_them_is_killed(room: Room) -> None:
    keys, each = 40, 30
    await room.transport.publish([message(f"k{k}", n) for n in range(5) for k in range(keys)])
    async with child("consumer", room.url, room.bus.url, "g") as process:
        await said(process, "handling")
        async with running(room.consumer(writing(), batch=7).run()):

            async def publish() -> None:
                for n in range(5, each):
                    await room.transport.publish([message(f"k{k}", n) for k in range(keys)])
                    await asyncio.sleep(0.05)

            publishing = asyncio.create_task(publish())
            await until(lambda: _atleast(room, 400), within_s=20)
            process.send_signal(signal.SIGKILL)
            await publishing
            await room.done(keys * each, within_s=20)
            await room.caught_up()
    effects = await room.effects()
    assert {key: sorted(numbers) for key, numbers in effects.items()} == {
        f"k{k}": list(range(each)) for k in range(keys)
    }
    assert all(numbers == sorted(numbers) for numbers in effects.values())


async def _atleast(room: Room, count: int) -> bool:
    return await room.count() >= count


async def test_a_flood_behind_a_parked_key_is_bounded_and_arrives_in_order(room: Room) -> None:
    release_s = time.monotonic() + 1.5

    def trouble(event: Received[Placed]) -> None:
        if event.data.n == 0 and time.monotonic() < release_s:
            raise Conflict("not-yet")

    consumer = room.consumer(writing(trouble), retries=RetryPolicy(attempts=100, first_s=0.1, most_s=0.2), batch=50)
    async with running(consumer.run()):
        for n in range(0, 2_000, 100):
            await room.transport.publish([message("k", n + i) for i in range(100)])
        await until(lambda: bool(consumer._parking.crowded()))
        assert consumer._parking._counts.total() <= 250
        assert await room.count() == 0
        await room.done(2_000, within_s=20)
    assert await room.effects() == {"k": list(range(2_000))}


async def test_replay_and_drop(room: Room) -> None:
    mended = False

    def trouble(event: Received[Placed]) -> None:
        if event.subject.startswith("bad") and not mended:
            raise KeyError("nothing here")

    async with running(room.consumer(writing(trouble)).run()):
        await room.transport.publish([message("bad1", 0), message("bad2", 0), message("a", 0)])
        await until(lambda: _some(room.letters, 2))
        first, second = await room.letters.list()
        await room.letters.replay(first.id)
        await until(lambda: _attempts(room.letters, first, first.attempts + 1))
        assert (await room.letters.get(first.id)).state == "dead"
        mended = True
        await room.letters.replay(first.id)
        await room.letters.drop(second.id)
        await room.done(2)
        await until(lambda: _state(room.letters, first, "replayed"))
        assert await room.letters.list() == []
        assert [letter.state for letter in await room.letters.list(state=None)] == ["replayed", "dropped"]
        for letter in (first, second):
            with pytest.raises(Conflict, match="dead-letter-settled"):
                await room.letters.replay(letter.id)
        with pytest.raises(NotFound):
            await room.letters.drop(10_000)
    assert await room.effects() == {"a": [0], first.key: [0]}


async def _attempts(letters: DeadLetters, letter: DeadLetter, count: int) -> bool:
    return (await letters.get(letter.id)).attempts == count


async def _state(letters: DeadLetters, letter: DeadLetter, state: str) -> bool:
    return (await letters.get(letter.id)).state == state


async def test_handlers_work_in_the_trace_of_the_event(room: Room) -> None:
    seen: list[str | None] = []
    handlers = Handlers[None]()

    @handlers.on(Placed)
    async def effect(_parts: None, tx: Tx, event: Received[Placed]) -> None:
        context = trace.current()
        seen.append(context.trace_id if context else None)
        await write(tx, event)

    outbox = Outbox("test")
    async with running(room.consumer(handlers).run()), running(Relay(room.url, room.transport, outbox).run()):
        with trace.use_traceparent(f"00-{7:032x}-{2:016x}-00"):
            async with room.database.transaction() as tx:
                await outbox.add(tx, Placed(n=0), key="k", version=1)
        await room.done(1)
    assert seen == [f"{7:032x}"]


async def test_the_inbox_forgets_only_what_is_old(room: Room) -> None:
    async with room.database.transaction() as tx:
        sent = [message("k", n) for n in range(5)]
        await inbox.Inbox("g").claim(tx, [delivered(each) for each in sent])
    await room.database.execute(
        "UPDATE inbox SET received_at = now() - interval '15 days'"
        " WHERE event_id = (SELECT event_id FROM inbox ORDER BY event_id LIMIT 1)"
    )
    assert [await inbox.forget_old(room.database), await inbox.forget_old(room.database)] == [1, 0]
    assert await room.database.value("SELECT count(*) FROM inbox") == 4


async def test_an_open_transaction_elsewhere_delays_no_effect(
    room: Room, empty_database: Callable[[], Awaitable[str]]
) -> None:
    neighbour = await Database.open(await empty_database())
    async with running(room.consumer(writing()).run()), neighbour.transaction() as tx:
        await tx.execute("CREATE TABLE held (n int)")
        started_s = time.monotonic()
        for n in range(20):
            await room.transport.publish([message("k", n)])
            await room.done(n + 1)
        assert time.monotonic() - started_s < 4.0
    await neighbour.close()
