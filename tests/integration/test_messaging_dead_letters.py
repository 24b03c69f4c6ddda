"""Dead letters: the order of their key, the count of their failures beyond a kill, an upgrade, and what lies."""

from __future__ import annotations

import asyncio
import random
import re
import signal
from collections.abc import Callable

import msgspec
import pytest

from tests.integration.test_messaging_consumer import QUICK, Room, writing
from tests.integration.test_messaging_consumer import room as room  # noqa: PLC0414 - a fixture
from tests.messaging_parts import Placed, Shipped, child, delivered, message, running, said, until
from tradewind.chassis.attempts import forget_old
from tradewind.chassis.consumer import Handlers, RetryPolicy
from tradewind.chassis.deadletters import DeadLetter, forget_replayed
from tradewind.chassis.errors import Conflict, Invalid, Unavailable
from tradewind.chassis.events import MAX_EVENT_BYTES, Event, Received
from tradewind.chassis.ids import new_id
from tradewind.chassis.inbox import Inbox
from tradewind.chassis.metrics import Metrics
from tradewind.chassis.postgres import Tx
from tradewind.chassis.transport import Message

MANY = 600
"""Letters behind one another: more than are handled again in one go."""


class Placed2(Event, frozen=True, kw_only=True):
    """What `Placed` became when its `n` got another meaning."""

    TYPE = "parcel.placed.v2"
    TOPIC = "parcel"

    number: int


def failing_on(*bad: tuple[str, int]) -> tuple[Handlers[None], set[tuple[str, int]]]:
    """Handlers that refuse these (key, n) for as long as they are in the set."""
    refused = set(bad)

    def trouble(event: Received[Placed]) -> None:
        if (event.subject, event.data.n) in refused:
            raise KeyError("nothing here")

    return writing(trouble), refused


async def letters_of(room: Room, *, count: int) -> list[DeadLetter]:
    """All letters, once there are so many."""

    async def enough() -> bool:
        return len(await room.letters.list(state=None)) >= count

    await until(enough, what=f"{count} letters")
    return await room.letters.list(state=None)


def states_are(room: Room, *states: str) -> Callable[[], object]:
    async def check() -> bool:
        return [letter.state for letter in await room.letters.list(state=None)] == list(states)

    return check


async def test_what_comes_after_a_dead_letter_waits_and_follows_its_replay_in_order(room: Room) -> None:
    handlers, refused = failing_on(("bad", 1))
    async with running(room.consumer(handlers).run()):
        await room.transport.publish([message(key, n) for n in range(3) for key in ("bad", "good")])
        await letters_of(room, count=2)
        # Others flow; so does what is published later, behind the letter.
        await room.transport.publish([message("bad", 3), message("good", 3)])
        dead, *behind = await letters_of(room, count=3)
        await room.caught_up()
        assert await room.effects() == {"bad": [0], "good": [0, 1, 2, 3]}
        assert [letter.state for letter in (dead, *behind)] == ["dead", "behind", "behind"]
        assert (behind[0].error, behind[0].attempts) == ("Held", 0)
        assert await room.letters.behind(dead.id) == 2
        with pytest.raises(Conflict, match=f"waits behind {dead.id}: decide on that first"):
            await room.letters.replay(behind[0].id)
        refused.clear()
        await room.letters.replay(dead.id, by="ada")
        await until(states_are(room, "replayed", "replayed", "replayed"))  # type: ignore[arg-type]
        await room.transport.publish([message("bad", 4)])
        await room.done(9)
    assert await room.effects() == {"bad": [0, 1, 2, 3, 4], "good": [0, 1, 2, 3]}
    assert (await room.letters.get(dead.id)).decided_by == "ada"


async def test_dropping_the_first_lets_the_others_go_on_and_keeps_who_and_why(room: Room) -> None:
    handlers, _ = failing_on(("bad", 0), ("bad", 2))
    async with running(room.consumer(handlers).run()):
        await room.transport.publish([message("bad", n) for n in range(4)])
        first, *_ = await letters_of(room, count=4)
        await room.letters.drop(first.id, by="ada", reason="a test order")
        # The second of the bad ones has its tries as well, and then is the one that others wait behind.
        await until(states_are(room, "dropped", "replayed", "dead", "behind"))  # type: ignore[arg-type]
    assert await room.effects() == {"bad": [1]}
    dropped, _, second, _ = await room.letters.list(state=None)
    assert (dropped.decided_by, dropped.reason) == ("ada", "a test order")
    assert (second.attempts, second.error, second.detail) == (QUICK.attempts, "KeyError", "'nothing here'")
    await room.database.execute("UPDATE dead_letter SET changed_at = now() - interval '400 days'")
    assert await forget_replayed(room.database) == 1
    assert [letter.state for letter in await room.letters.list(state=None)] == ["dropped", "dead", "behind"]


async def test_other_keys_have_their_turn_while_many_letters_are_handled_again(room: Room) -> None:
    handlers, _ = failing_on(("bad", 0))
    async with running(room.consumer(handlers).run()):
        await room.transport.publish([message("bad", n) for n in range(MANY)])
        first, *_ = await letters_of(room, count=1)
        await until(lambda: waiting(room, first.id, MANY - 1))
        await room.letters.drop(first.id)
        await until(lambda: handled_again(room))
        await room.transport.publish([message("good", 0)])
        await until(lambda: took_effect(room, "good"))
        assert await room.letters.behind(first.id) > 0
        await room.done(MANY)
    assert await room.effects() == {"bad": list(range(1, MANY)), "good": [0]}


async def waiting(room: Room, id_: int, count: int) -> bool:
    return await room.letters.behind(id_) == count


async def handled_again(room: Room) -> bool:
    return bool(await room.letters.list(state="replayed", limit=1))


async def took_effect(room: Room, key: str) -> bool:
    return key in await room.effects()


async def test_another_instance_holds_back_what_one_has_buried(room: Room) -> None:
    handlers, _ = failing_on(("bad", 0))
    async with running(room.consumer(handlers).run()):
        await room.transport.publish([message("bad", 0)])
        await letters_of(room, count=1)
        await room.caught_up()
    async with running(room.consumer(writing()).run()):
        await room.transport.publish([message("bad", 1), message("good", 0)])
        await letters_of(room, count=2)
        await room.done(1)
    assert await room.effects() == {"good": [0]}


async def test_who_waited_for_a_burial_sees_it(room: Room) -> None:
    """Two that are handed the same messages, as after a partition was taken from one that did not notice."""
    first, second = (delivered(message("bad", n), offset=n) for n in range(2))
    waiting: asyncio.Task[object] | None = None
    async with room.database.transaction() as tx:
        await Inbox("g").claim(tx, [first])
        await tx.execute(
            'INSERT INTO dead_letter (consumer_group, event_id, topic, partition, "offset", key, type, value, headers,'
            " error, detail, attempts, first_failed_at, last_failed_at)"
            " VALUES ('g', $1, 'parcel', 0, 0, 'bad', 't', '', '{}', 'E', '', 1, now(), now())",
            first.id,
        )

        async def claim() -> object:
            async with room.database.transaction() as other:
                return await Inbox("g").claim(other, [first, second])

        waiting = asyncio.create_task(claim())

        async def blocked() -> bool:
            return bool(await room.database.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))

        await until(blocked)
    assert await waiting == ({second.id}, {second.id})


async def test_a_kill_between_tries_starts_no_count_anew_and_keeps_the_order(room: Room) -> None:
    await room.transport.publish([message("bad", n) for n in range(3)] + [message("good", 0)])
    async with child("failing", room.url, room.bus.url, "g") as process:
        await said(process, "failing")

        async def thrice() -> bool:
            return int(await room.database.value("SELECT coalesce(max(attempts), 0) FROM delivery_attempt")) >= 3

        await until(thrice)
        process.send_signal(signal.SIGKILL)
        await process.wait()
    known = await room.database.row("SELECT attempts, first_failed_at FROM delivery_attempt")
    assert known is not None
    assert known["attempts"] >= 3
    handlers, refused = failing_on(("bad", 0))
    policy = RetryPolicy(attempts=known["attempts"] + 2, first_s=0.05, most_s=0.1)
    async with running(room.consumer(handlers, retries=policy).run()):
        dead, *behind = await letters_of(room, count=3)
        assert dead.attempts == known["attempts"] + 2
        assert dead.first_failed_at == known["first_failed_at"]
        assert [letter.state for letter in behind] == ["behind", "behind"]
        refused.clear()
        await room.letters.replay(dead.id)
        await room.done(4)
    assert await room.effects() == {"bad": [0, 1, 2], "good": [0]}
    assert await room.database.value("SELECT count(*) FROM delivery_attempt") == 0


async def test_a_count_ends_with_its_message_or_its_time(room: Room) -> None:
    handlers, refused = failing_on(("bad", 0))
    async with running(room.consumer(handlers, retries=RetryPolicy(attempts=1_000, first_s=0.01, most_s=0.02)).run()):
        await room.transport.publish([message("bad", 0)])

        async def counted() -> int:
            return int(await room.database.value("SELECT coalesce(max(attempts), 0) FROM delivery_attempt"))

        async def some() -> bool:
            return await counted() > 2

        async def none() -> bool:
            return await counted() == 0

        await until(some)
        refused.clear()
        await room.done(1)
        await until(none)
    await room.database.execute(
        "INSERT INTO delivery_attempt (consumer_group, event_id, attempts, failures, first_failed_at, noted_at)"
        " VALUES ('g', $1, 1, 1, now(), now() - interval '15 days'), ('g', $2, 1, 1, now(), now())",
        new_id(), new_id(),
    )  # fmt: skip
    assert [await forget_old(room.database), await forget_old(room.database)] == [1, 0]


async def test_a_replay_waits_for_a_neighbour_that_is_away(room: Room) -> None:
    tries = 0

    def trouble(_event: Received[Placed]) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise Invalid("not-now")
        if tries == 2:
            raise Unavailable("payment-unavailable")

    async with running(room.consumer(writing(trouble)).run()):
        await room.transport.publish([message("k", 0)])
        (dead,) = await letters_of(room, count=1)
        await room.letters.replay(dead.id)
        await room.done(1)
    letter = await room.letters.get(dead.id)
    assert (letter.state, letter.attempts, tries) == ("replayed", 1, 3)


async def test_a_newer_version_is_dead_at_once_and_replayed_after_the_upgrade(room: Room) -> None:
    newer = message("k", 1, event=Placed2(number=1))
    tries = RetryPolicy(attempts=50, first_s=30.0)
    async with running(room.consumer(writing(), retries=tries).run()):
        await room.transport.publish([message("k", 0), newer, message("k", 2), message("other", 0)])
        dead, behind = await letters_of(room, count=2)
        await room.done(2)
        assert (dead.error, dead.attempts, dead.type) == ("UnhandledVersion", 1, "parcel.placed.v2")
        assert "parcel.placed.v2 came" in dead.detail
        assert "(parcel.placed.v1): upgrade this consumer, then replay it" in dead.detail
        # Before the upgrade a replay changes nothing, and says so.
        await room.letters.replay(dead.id)
        await until(lambda: _tried(room, dead, 2))
        assert (await room.letters.get(dead.id)).state == "dead"
    upgraded = writing()

    @upgraded.on(Placed2)
    async def effect(_parts: None, tx: Tx, event: Received[Placed2]) -> None:
        await tx.execute("INSERT INTO effect (key, n) VALUES ($1, $2)", event.subject, event.data.number)

    async with running(room.consumer(upgraded, retries=tries).run()):
        await room.letters.replay(dead.id)
        await room.done(4)
    assert await room.effects() == {"k": [0, 1, 2], "other": [0]}
    assert (await room.letters.get(behind.id)).state == "replayed"


async def _tried(room: Room, letter: DeadLetter, attempts: int) -> bool:
    return (await room.letters.get(letter.id)).attempts == attempts


def lying() -> dict[str, Message]:
    """Messages whose bytes are not what the message says, each under a key that names the lie."""
    good = message("good")

    def saying(key: str, value: bytes) -> Message:
        return Message(topic="parcel", key=key, id=new_id(), type=Placed.TYPE, value=value)

    def changed(key: str, before: bytes, after: bytes) -> Message:
        value = message(key).value
        assert before in value
        return saying(key, value.replace(before, after))

    named = {
        "not json": saying("not json", b"\x00\x01"),
        "empty": saying("empty", b""),
        "no utf-8": changed("no utf-8", b'"test"', b'"\xff"'),
        "no id": changed("no id", b'"id":', b'"idea":'),
        "no version": changed("no version", b'"specversion":', b'"spec":'),
        "another version": changed("another version", b'"1.0"', b'"0.3"'),
        "another type": changed("another type", Placed.TYPE.encode(), Shipped.TYPE.encode()),
        "another aggregate": saying("another aggregate", good.value),
        "huge": saying("huge", message("huge").value + b" " * MAX_EVENT_BYTES),
        "nul": changed("nul", b'"note":""', b'"note":"a\\u0000"'),
        "wrong data": changed("wrong data", b'"n":0', b'"n":"0"'),
    }
    return {**named, "nul in the key": saying("nul in the key\x00", good.value)}


async def test_an_envelope_that_lies_is_a_dead_letter_that_says_how(room: Room) -> None:
    sent = lying()
    async with running(room.consumer(writing(), retries=RetryPolicy(attempts=50, first_s=30.0)).run()):
        # By a fetch, as another broker would hand it over: PostgreSQL's own log has no key with a NUL in it.
        strange = sent.pop("nul in the key")
        await room.transport.publish([*sent.values(), message("good", 0)])
        letters = {letter.key: letter for letter in await letters_of(room, count=len(sent))}
        await room.done(1)
        await room.caught_up()
    assert letters.keys() == sent.keys()
    assert {letter.error for letter in letters.values()} == {"Undecodable"}
    assert {letter.attempts for letter in letters.values()} == {1}
    assert all(letters[key].value == each.value for key, each in sent.items())
    said_of = {key: letter.detail.removeprefix("parcel.placed.v1: ") for key, letter in letters.items()}
    assert said_of["no id"] == "Object missing required field `id`"
    assert said_of["another type"] == "the envelope says its type is parcel.shipped.v1"
    assert said_of["another aggregate"] == "the envelope is about good, the key is another aggregate"
    assert said_of["huge"].endswith(f"at most {MAX_EVENT_BYTES} may travel")
    assert said_of["nul"] == "a text in it has a NUL character"
    assert "$.data.n" in said_of["wrong data"]
    consumer = room.consumer(writing())
    error = await consumer._attempt([delivered(strange)])
    assert error is not None
    await consumer._fail(delivered(strange), error)
    await consumer._retry_parked()
    assert (await room.letters.list())[-1].key == "nul in the key\N{REPLACEMENT CHARACTER}"


async def test_a_key_that_no_index_has_room_for_stops_nobody(room: Room) -> None:
    long = random.Random(1).randbytes(9_000).hex()
    lie = Message(topic="parcel", key=long, id=new_id(), type=Placed.TYPE, value=b"{")
    async with running(room.consumer(writing()).run()):
        await room.transport.publish([lie, message(long, 1), message("good", 0)])
        dead, behind = await letters_of(room, count=2)
        await room.done(1)
        assert dead.key == behind.key
        assert dead.key.startswith(long[:40])
        assert len(dead.key) <= 256
        assert (dead.state, behind.state) == ("dead", "behind")
        await room.caught_up()


async def test_metrics_say_what_waits_and_what_was_passed_over(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tradewind.chassis.consumer.loop.MEASURE_EVERY_S", 0.05)
    metrics = Metrics()
    handlers, refused = failing_on(("bad", 0))

    async def shows(*lines: str) -> bool:
        text = (await metrics.render()).decode()
        return all(line in text for line in lines)

    def standing(state: str, count: float) -> str:
        return f'dead_letters{{group="g",state="{state}",type="parcel.placed.v1"}} {count}'

    async with running(room.consumer(handlers, metrics=metrics).run()):
        await room.transport.publish([message("bad", 0), message("bad", 1), message("x", event=Shipped(n=0))])
        await until(lambda: shows(standing("dead", 1.0), standing("behind", 1.0)))
        await until(lambda: shows('consumer_foreign_events_total{group="g",topic="parcel"} 1.0'))
        await room.database.execute("UPDATE dead_letter SET first_failed_at = now() - interval '1 hour'")
        await until(lambda: shows('dead_letter_oldest_seconds{group="g"} 360'))
        refused.clear()
        (dead,) = await room.letters.list()
        await room.letters.replay(dead.id)
        await until(
            lambda: shows(standing("dead", 0.0), standing("behind", 0.0), 'dead_letter_oldest_seconds{group="g"} 0.0')
        )


async def test_two_instances_replay_a_key_in_its_order(room: Room) -> None:
    handlers, refused = failing_on(("bad", 0))
    async with running(room.consumer(handlers).run()):
        await room.transport.publish([message("bad", n) for n in range(30)])
        dead, *_ = await letters_of(room, count=30)
        refused.clear()
        async with running(room.consumer(handlers).run()):
            await room.letters.replay(dead.id)
            await room.done(30)
    assert await room.effects() == {"bad": list(range(30))}


async def test_the_log_of_a_dead_letter_is_in_its_trace_and_has_the_stack(
    room: Room, capsys: pytest.CaptureFixture[str]
) -> None:
    handlers, _ = failing_on(("bad", 0))
    sent = msgspec.structs.replace(message("bad", 0), headers={"traceparent": f"00-{7:032x}-{1:016x}-00"})
    async with running(room.consumer(handlers).run()):
        await room.transport.publish([sent])
        await letters_of(room, count=1)
    lines = capsys.readouterr().out.splitlines()
    (line,) = (line for line in lines if " dead letter " in line)
    assert all(f"trace_id={7:032x}" in each for each in lines if " event failed " in each)
    assert f"trace_id={7:032x}" in line
    assert re.search(r"test_messaging_dead_letters\.py:\d+ trouble", line)
