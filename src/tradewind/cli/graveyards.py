"""The dead letters of all rooms, under numbers that say where they are: `order:17`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import NamedTuple

from tradewind.chassis.deadletters import DeadLetter, DeadLetters, State
from tradewind.chassis.errors import NotFound, Problem, Unavailable
from tradewind.chassis.postgres import Database, is_away
from tradewind.cli.platform_access import room_databases
from tradewind.stack.errors import StackError
from tradewind.stack.rooms import rooms_with_database

PAGE = 500
POLL_S = 0.1
_AWAY_FIX = "is the platform up? `tradewind ps`, `tradewind doctor`"


class Name(NamedTuple):
    """`order:17`."""

    room: str
    id: int

    def __str__(self) -> str:
        return f"{self.room}:{self.id}"


class Listed(NamedTuple):
    """The letters that were found, the rooms that have more than were asked for, and what could not be looked at, with why."""

    letters: Sequence[tuple[Name, DeadLetter]]
    more: Sequence[str]
    unseen: Sequence[str]


class Outcome(NamedTuple):
    """What came of a replay: `replayed`, `dead` again, `dropped` meanwhile, or still in `replay` when the time was up.

    `followed` letters waited behind it and took effect as well, `waiting` still do.
    """

    name: Name
    letter: DeadLetter
    followed: int
    waiting: int


class Graveyards:
    """The dead letters of these rooms, each in its own database. Use `opened`."""

    def __init__(self, databases: Mapping[str, Database]) -> None:
        self._letters = {room: DeadLetters(database) for room, database in databases.items()}

    async def get(self, name: Name) -> DeadLetter:
        """One letter.

        Raises:
            StackError: there is none, or its database is away.
        """
        with _told(name):
            return await self._letters[name.room].get(name.id)

    async def all_in(
        self, room: str, states: Sequence[State], most: int | None = None
    ) -> list[tuple[Name, DeadLetter]]:
        """The letters of a room in these states, oldest first; at most `most`, else all.

        Raises:
            StackError: its database is away.
        """
        found: list[tuple[Name, DeadLetter]] = []
        with _told(room):
            while True:
                after = found[-1][1].id if found else 0
                limit = PAGE if most is None else min(PAGE, most - len(found))
                page = await self._letters[room].list(states=states, after=after, limit=limit)
                found += [(Name(room, letter.id), letter) for letter in page]
                if len(page) < PAGE or len(found) == most:
                    return found

    async def behind(self, name: Name) -> int:
        """How many open letters of its key come after it."""
        with _told(name):
            return await self._letters[name.room].behind(name.id)

    async def replay(self, name: Name, *, by: str) -> None:
        """Have its consumer handle it again.

        Raises:
            StackError: there is none, it is settled, it waits behind another, or its database is away.
        """
        with _told(name):
            await self._letters[name.room].replay(name.id, by=by)

    async def drop(self, name: Name, *, by: str, reason: str) -> None:
        """Decide that it shall never take effect.

        Raises:
            StackError: there is none, it is settled, or its database is away.
        """
        with _told(name):
            await self._letters[name.room].drop(name.id, by=by, reason=reason)

    async def outcome(self, name: Name, *, before: int, deadline_s: float) -> Outcome:
        """Wait, until monotonic `deadline_s`, for a replay and for what waits behind it; `before` letters did at first.

        Raises:
            StackError: its database is away.
        """
        while True:
            letter = await self.get(name)
            waiting = await self.behind(name)
            settled = letter.state in {"dead", "dropped"} or (
                letter.state == "replayed" and not await self._moving(name)
            )
            if settled or time.monotonic() >= deadline_s:
                followed = max(0, before - waiting) if letter.state == "replayed" else 0
                return Outcome(name, letter, followed, waiting)
            await asyncio.sleep(POLL_S)

    async def _moving(self, name: Name) -> bool:
        """Whether letters behind it are still on their way: some wait, and none of them is dead."""
        with _told(name):
            letters = self._letters[name.room]
            return await letters.behind(name.id) > 0 and await letters.behind(name.id, "dead") == 0


@contextlib.asynccontextmanager
async def opened(*rooms: str) -> AsyncIterator[Graveyards]:
    """The dead letters of these rooms.

    Raises:
        StackError: a database is away, or its address is not known.
    """
    urls = room_databases(rooms)
    async with contextlib.AsyncExitStack() as stack:
        databases: dict[str, Database] = {}
        for room, url in urls.items():
            with _told(room):
                databases[room] = await Database.open(url, max_size=1, application_name="tradewind dlq")
            stack.push_async_callback(databases[room].close)
        yield Graveyards(databases)


async def listed(rooms: Sequence[str], states: Sequence[State], most: int) -> Listed:
    """Up to `most` letters of each room; one whose database is away is named, and does not hide the others'.

    Raises:
        StackError: an address is not known.
    """
    room_databases(rooms)
    letters: list[tuple[Name, DeadLetter]] = []
    more: list[str] = []
    unseen: list[str] = []
    for room in rooms:
        try:
            async with opened(room) as graveyards:
                found = await graveyards.all_in(room, states, most + 1)
                letters += found[:most]
                more += [room] if len(found) > most else []
        except StackError as error:
            unseen.append(error.problem)
    return Listed(letters, more, unseen)


def named(text: str) -> Name:
    """`order:17` as a name.

    Raises:
        ValueError: it does not read like one, or there is no such room.
    """
    room, colon, number = text.partition(":")
    if not colon or not number.isascii() or not number.isdigit() or len(number) > 18:
        raise ValueError(f"{text!r} is no dead letter's name; they read like order:17")
    if room not in rooms_with_database():
        raise ValueError(f"there is no room {room!r} with dead letters; there are {', '.join(rooms_with_database())}")
    return Name(room, int(number))


@contextlib.contextmanager
def _told(what: Name | str) -> Iterator[None]:
    """Say what went wrong with `what` in one line, and what to do."""
    room = what.room if isinstance(what, Name) else what
    try:
        yield
    except Unavailable as exc:
        raise StackError(f"the database of {room} is away", _AWAY_FIX) from exc
    except NotFound as exc:
        raise StackError(f"there is no dead letter {what}", "`tradewind dlq ls --state any` lists them") from exc
    except Problem as exc:
        raise StackError(_detail(exc, room), f"`tradewind dlq show {what}`") from exc
    except Exception as exc:
        if is_away(exc):
            raise StackError(f"the database of {room} is away", _AWAY_FIX) from exc
        raise StackError(f"{room}: {exc}", "is it migrated with this version? `tradewind migrate`") from exc


def _detail(problem: Problem, room: str) -> str:
    """The detail, with the room's name before each number."""
    words = [f"{room}:{word}" if word.rstrip(":.,").isdigit() else word for word in problem.detail.split(" ")]
    return " ".join(words).rstrip(".")
