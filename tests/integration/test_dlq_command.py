"""`tradewind dlq` on real databases, beside a real consumer."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.conftest import RoomDatabase
from tests.messaging_parts import Bus, Placed, message, running, until
from tradewind.chassis.consumer import Consumer, Handlers, RetryPolicy
from tradewind.chassis.deadletters import DeadLetters, State
from tradewind.chassis.events import Envelope, Event, Received, encode
from tradewind.chassis.ids import new_id
from tradewind.chassis.migrations import migrate
from tradewind.chassis.postgres import Database, Tx
from tradewind.chassis.transport import Message
from tradewind.chassis.transport.postgres import ensure_schema
from tradewind.stack.ports import free_port
from tradewind.stack.rooms import rooms_with_database

TRACE = f"{7:032x}"


class Registered(Event, frozen=True, kw_only=True):
    """An event with what must not be shown."""

    TYPE = "parcel.registered.v1"
    TOPIC = "parcel"

    email: str
    api_key: str


@dataclass
class Answer:
    """What the command said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.out)


@dataclass
class Desk:
    """Databases of all rooms, a consumer of order-service that refuses what is in `refused`, and the command."""

    home: Path
    urls: dict[str, str]
    database: Database
    bus: Bus
    refused: set[str] = field(default_factory=set)

    @property
    def letters(self) -> DeadLetters:
        return DeadLetters(self.database)

    async def consumer(self) -> Consumer[None]:
        """A consumer of order-service, which gives up after two tries."""
        handlers: Handlers[None] = Handlers()

        @handlers.on(Placed)
        async def placed(_parts: None, _tx: Tx, event: Received[Placed]) -> None:
            if event.subject in self.refused:
                raise KeyError(f"nothing like {event.subject}")

        @handlers.on(Registered)
        async def registered(_parts: None, _tx: Tx, _event: Received[Registered]) -> None:
            raise RuntimeError("cannot reach postgresql://ann:hunter2@db/x")

        retries = RetryPolicy(attempts=2, first_s=0.01)
        return Consumer("order-service", self.database, await self.bus.transport(), handlers, None, retries=retries)

    async def publish(self, *messages: Message) -> None:
        await (await self.bus.transport()).publish(messages)

    async def has(self, count: int, *states: State) -> None:
        """Wait until so many letters are in these states."""

        async def enough() -> bool:
            return len(await self.letters.list(states=states)) == count

        await until(enough, what=f"{count} letters {states}")

    async def dlq(self, *words: str, **more: str) -> Answer:
        """`tradewind dlq WORDS`, with no stack in sight."""
        named = {f"{room.upper()}_DATABASE_URL": url for room, url in self.urls.items()}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TRADEWIND_")}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tradewind.cli", "dlq", *words,
            env={**kept, **named, **more, "TRADEWIND_HOME": str(self.home)},
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        return Answer(process.returncode or 0, out.decode(), err.decode())


@pytest.fixture
async def desk(
    empty_database: Callable[[], Awaitable[str]], room_database: RoomDatabase, tmp_path: Path
) -> AsyncIterator[Desk]:
    other, bus_url = await empty_database(), await empty_database()
    await migrate(other, None)
    await ensure_schema(bus_url)
    urls = dict.fromkeys(rooms_with_database(), other)
    urls["order"] = (await room_database("order")).url
    database, bus = await Database.open(urls["order"]), Bus(bus_url)
    yield Desk(tmp_path, urls, database, bus)
    await database.close()
    await bus.close()


def registered() -> Message:
    """A message with secrets in its data and its headers, in a trace."""
    traceparent = f"00-{TRACE}-{1:016x}-01"
    from datetime import UTC, datetime

    envelope = Envelope(
        id=new_id(), source="test", type=Registered.TYPE, subject="r1", time=datetime.now(UTC), aggregateversion=1,
        data=Registered(email="ann@example.test", api_key="hunter3"),
    )  # fmt: skip
    return Message(
        topic="parcel", key="r1", id=envelope.id, type=Registered.TYPE, value=encode(envelope),
        headers={"traceparent": traceparent, "authorization": "Bearer hunter4"},
    )  # fmt: skip


async def test_from_the_alarm_to_the_end(desk: Desk) -> None:
    assert (await desk.dlq("ls")).out == "no dead letters\n"
    desk.refused = {"bad"}
    async with running((await desk.consumer()).run()):
        await desk.publish(message("bad", 0), message("bad", 1), message("good", 0))
        await desk.has(2, "dead", "behind")
        listed = await desk.dlq("ls", "order")
        assert listed.code == 0
        head, first, second = listed.out.splitlines()
        assert head.split() == ["ID", "STATE", "CONSUMER", "TYPE", "KEY", "TRIES", "SINCE", "ERROR"]
        assert re.match(r"order:\d+ +dead +order-service +parcel\.placed\.v1 +bad +2 ", first)
        assert first.endswith("KeyError: 'nothing like bad'")
        assert re.match(r"order:\d+ +behind ", second)
        dead, behind = first.split()[0], second.split()[0]
        assert [(await desk.dlq("ls", "--state", state)).out.count("order:") for state in ("dead", "any")] == [1, 2]
        assert (await desk.dlq("ls", "payment")).out == "no dead letters\n"

        again = await desk.dlq("replay", dead)
        assert (again.code, again.out) == (1, f"{dead} failed again: KeyError: 'nothing like bad'\n")
        assert (await desk.letters.get(int(dead.partition(":")[2]))).attempts == 3
        waits = await desk.dlq("replay", behind)
        assert waits.code == 1
        assert waits.err.startswith(f"tradewind: Dead letter {behind} waits behind {dead}: decide on that first\n")

        desk.refused = set()
        done = await desk.dlq("replay", dead, "--by", "ada")
        assert (done.code, done.out) == (0, f"{dead} took effect, and 1 behind it\n")
        settled = await desk.dlq("replay", dead)
        assert (settled.code, settled.out) == (1, "")
        assert f"Dead letter {dead} is replayed already" in settled.err
        assert (await desk.dlq("ls")).out == "no dead letters\n"
        assert "decided   replayed by ada" in (await desk.dlq("show", dead)).out


async def test_show_masks_what_the_logs_mask_and_names_the_trace(desk: Desk) -> None:
    async with running((await desk.consumer()).run()):
        await desk.publish(registered(), message("r1", 1))
        await desk.has(2, "dead", "behind")
    shown = await desk.dlq("show", "order:1")
    assert shown.code == 0
    for secret in ("hunter", "ann@"):
        assert secret not in shown.out
    assert "error     RuntimeError: cannot reach postgresql://***@db/x" in shown.out
    assert f"`tradewind logs --trace {TRACE}`" in shown.out
    assert "behind it 1 later event of its key" in shown.out
    assert "next      mend the cause, then `tradewind dlq replay order:1`" in shown.out
    body = msgspec.json.decode(shown.out.partition("\n\n")[2])
    assert body["data"] == {"email": "a***", "api_key": "***"}
    known = (await desk.dlq("show", "order:1", "--format", "json")).json
    assert (known["id"], known["state"], known["behind"], known["trace_id"]) == ("order:1", "dead", 1, TRACE)
    assert known["headers"]["authorization"] == "***"
    assert known["message"] == body


async def test_show_masks_addresses_wherever_they_stand(desk: Desk) -> None:
    value = msgspec.json.encode(
        {"data": {"note": "write to ann.b@example.test, or http://x.test/@y", "cc": ["b@example.test"]}}
    )
    more = {"type": Placed.TYPE, "headers": {"x-from": "cat@example.test"}}
    async with running((await desk.consumer()).run()):
        await desk.publish(
            Message(topic="parcel", key="k", id=new_id(), value=value, **more),
            Message(topic="parcel", key="l", id=new_id(), value=b"dee@example.test", **more),
        )
        await desk.has(2, "dead")
    shown = {
        known["key"]: known
        for known in [(await desk.dlq("show", f"order:{n}", "--format", "json")).json for n in (1, 2)]
    }
    assert shown["k"]["message"]["data"] == {"note": "write to a***, or http://x.test/@y", "cc": ["b***"]}
    assert shown["k"]["headers"] == {"x-from": "c***"}
    assert shown["l"]["message"] == "(16 bytes, no JSON object) d***"


async def test_show_of_bytes_that_are_no_event(desk: Desk) -> None:
    junk = Message(topic="parcel", key="k", id=new_id(), type=Placed.TYPE, value=b"\xff\x00\x1b[31m junk")
    async with running((await desk.consumer()).run()):
        await desk.publish(junk)
        await desk.has(1, "dead")
    shown = await desk.dlq("show", "order:1")
    assert shown.out.splitlines()[-1] == r"(12 bytes, no JSON object) \xff\x00\x1b[31m junk"


async def test_all_of_a_room_after_a_question(desk: Desk) -> None:
    desk.refused = {"bad0", "bad1", "bad2"}
    async with running((await desk.consumer()).run()):
        await desk.publish(*(message(f"bad{n}") for n in range(3)), message("bad1", 1))
        await desk.has(4, "dead", "behind")
        desk.refused = {"bad2"}
        short = await desk.dlq("ls", "--limit", "2")
        assert short.out.count("order:") == 2
        assert short.out.endswith("and more of order; --limit shows them\n")
        assert (await desk.dlq("ls", "--limit", "3", "--format", "json")).json["more"] == ["order"]
        assert (await desk.dlq("ls", "--limit", "4", "--format", "json")).json["more"] == []
        asked = await desk.dlq("replay", "--all", "order")
        assert asked.code == 1
        assert "replay 3 dead letters of order?" in asked.err
        await desk.has(3, "dead")
        done = await desk.dlq("replay", "--all", "order", "--yes", "--format", "json")
    outcomes = [msgspec.json.decode(line) for line in done.out.splitlines()]
    assert done.code == 1
    assert {(each["key"], each["state"], each["followed"]) for each in outcomes} == {
        ("bad0", "replayed", 0), ("bad1", "replayed", 1), ("bad2", "dead", 0),
    }  # fmt: skip


async def test_a_replay_without_its_consumer_is_a_wait_that_timed_out(desk: Desk) -> None:
    desk.refused = {"bad"}
    async with running((await desk.consumer()).run()):
        await desk.publish(message("bad"))
        await desk.has(1, "dead")
    desk.refused = set()
    late = await desk.dlq("replay", "order:1", "--wait", "200ms")
    assert (late.code, late.out) == (17, "order:1 still waits for order-service: does it run? `tradewind ps`\n")
    async with running((await desk.consumer()).run()):
        await desk.has(1, "replayed")


async def test_drop_keeps_who_when_and_why(desk: Desk) -> None:
    desk.refused = {"bad"}
    async with running((await desk.consumer()).run()):
        await desk.publish(message("bad", 0), message("bad", 1))
        await desk.has(2, "dead", "behind")
        assert (await desk.dlq("drop", "order:1")).code == 2
        assert "say why" in (await desk.dlq("drop", "order:1", "--reason", " ")).err
        dropped = await desk.dlq("drop", "order:1", "order:99", "--reason", "a test order")
        assert (dropped.code, dropped.out) == (1, "order:1 dropped; 1 behind it go on\n")
        assert "there is no dead letter order:99" in dropped.err
        # What was behind it has its turn, and fails for itself.
        await desk.has(1, "dead")
    letter = await desk.letters.get(1)
    assert (letter.state, letter.reason) == ("dropped", "a test order")
    assert re.fullmatch(r".+@.+", letter.decided_by or "")
    item = (await desk.dlq("ls", "--state", "dropped", "--format", "json")).json["items"][0]
    assert (item["id"], item["reason"], item["decided_by"]) == ("order:1", "a test order", letter.decided_by)
    assert f"decided   dropped by {letter.decided_by}" in (await desk.dlq("show", "order:1")).out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "17"), "they read like order:17"),
        (("show", "orders:17"), "there is no room 'orders'"),
        (("show", "order:-1"), "they read like order:17"),
        (("replay",), "name letters, or --all ROOM"),
        (("replay", "order:1", "--all", "order"), "name letters, or --all ROOM"),
        (("replay", "order:1", "--wait", "soon"), "is no duration"),
        (("ls", "--state", "lost"), "'lost' is not one of"),
        (("ls", "gateway"), "'gateway' is not one of"),
    ],
)
async def test_wrong_usage(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    answer = await Desk(tmp_path, {}, None, None).dlq(*words)  # type: ignore[arg-type]
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err


async def test_a_database_that_is_away_hides_nobody_elses_letters(desk: Desk) -> None:
    desk.refused = {"bad"}
    async with running((await desk.consumer()).run()):
        await desk.publish(message("bad"))
        await desk.has(1, "dead")
    desk.urls["user"] = f"postgresql://user_service:x@127.0.0.1:{free_port()}/user_service"
    listed = await desk.dlq("ls")
    assert listed.code == 1
    assert "order:1" in listed.out
    assert listed.err == "not looked at: the database of user is away\n"
    shown = await desk.dlq("show", "user:1")
    assert shown.code == 1
    assert shown.err.startswith("tradewind: the database of user is away\n  is the platform up?")
    del desk.urls["user"]
    assert "not set: USER_DATABASE_URL" in (await desk.dlq("ls")).err
