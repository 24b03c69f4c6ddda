"""Reading the log as a member of a group.

One session does it all: it holds the locks of the partitions we own, hears of new messages and of members who come and go,
reads, and keeps the positions. So when it dies, nothing can be read under a lock that is no longer ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import zlib
from collections.abc import Collection, Mapping

import msgspec

from tradewind.chassis.errors import Unavailable
from tradewind.chassis.postgres import Record
from tradewind.chassis.session import Session
from tradewind.chassis.shares import Shares, Unit
from tradewind.chassis.transport import Batch, Delivered, Place, Positions

MEMBERS = "bus_members"

POLL_S = 0.2
BALANCE_EVERY_S = 1.0
DRAIN_S = 5.0

READ = """
    SELECT l.topic, l.partition, l."offset", l.key, l.event_id, l.type, l.value, l.headers
    FROM unnest($1::text[], $2::int[], $3::bigint[]) AS want(topic, partition, next),
    LATERAL (
        SELECT * FROM log
        WHERE log.topic = want.topic AND log.partition = want.partition AND log."offset" >= want.next
        ORDER BY log."offset" LIMIT $4
    ) AS l
    LIMIT $4
"""
_COMMITTED = """
    SELECT topic, partition, next_offset FROM consumer_offset
    WHERE consumer_group = $1 AND (topic, partition) IN (SELECT * FROM unnest($2::text[], $3::int[]))
"""
# Forward only: a member that was taken for dead may commit late, and what it did is done all the same.
_COMMIT = """
    INSERT INTO consumer_offset AS kept (consumer_group, topic, partition, next_offset)
    SELECT $1, * FROM unnest($2::text[], $3::int[], $4::bigint[])
    ON CONFLICT (consumer_group, topic, partition) DO UPDATE
    SET next_offset = EXCLUDED.next_offset, committed_at = now() WHERE kept.next_offset < EXCLUDED.next_offset
"""
_HEADS = "SELECT topic, partition, head FROM partition WHERE topic = ANY($1)"

_headers = msgspec.json.Decoder(dict[str, str])


def appended(topic: str) -> str:
    """The channel on which a topic's new messages are announced: one each, so that nobody is woken for another's.

    A number, because a channel's name is at most 63 bytes long; two topics that share one are woken for each other.
    """
    return f"bus_appended_{zlib.crc32(topic.encode()):08x}"


class PostgresSubscription:
    """A `Subscription`. `classes` maps the number of each (group, topic) to the topic and how many partitions it has."""

    def __init__(self, url: str, group: str, classes: Mapping[int, tuple[str, int]], *, application_name: str) -> None:
        self._group = group
        self._topics = dict(classes)
        self._class_of = {topic: class_ for class_, (topic, _) in classes.items()}
        self._session = Session(
            url,
            application_name=f"{application_name} {group}",
            listen={appended(topic): self._on_appended for topic in self._class_of} | {MEMBERS: self._on_members},
            # A commit of positions that is lost in a crash only means that messages come again.
            settings={"synchronous_commit": "off"},
            away="bus-unavailable",
        )
        self._shares = Shares(self._session, {class_: partitions for class_, (_, partitions) in classes.items()})
        self._epoch = 0
        self._next: Positions = {}
        self._done: Positions = {}
        self._leaving: dict[Place, float] = {}
        self._lost: set[Place] = set()
        self._turn = 0
        self._read_at_s = 0.0
        self._wake = asyncio.Event()
        self._members_changed = asyncio.Event()
        self._balancing = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None
        self._closing = False

    async def open(self) -> None:
        """Join the group and take what is free of our share."""
        await self._ready()
        await self._tell_members()
        self._keeper = asyncio.create_task(self._keep(), name=f"bus {self._group}")

    async def fetch(self, max_messages: int, timeout_s: float, skip: Collection[Place] = ()) -> Batch:
        deadline_s = time.monotonic() + timeout_s
        while True:
            await self._ready()
            messages: list[Delivered] = []
            if self._wake.is_set() or time.monotonic() >= self._read_at_s:
                self._wake.clear()
                messages = await self._read(max_messages, skip)
                # Where more was to be had, or may come unannounced, look again without being woken.
                self._read_at_s = time.monotonic() + (0.0 if len(messages) == max_messages else POLL_S)
            lost, self._lost = self._lost, set()
            if messages or lost or time.monotonic() >= deadline_s:
                return Batch(messages, lost)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, min(deadline_s, self._read_at_s) - time.monotonic())):
                    await self._wake.wait()

    async def commit(self, positions: Positions) -> None:
        if not positions:
            return
        await self._session.execute(
            _COMMIT, self._group, [p[0] for p in positions], [p[1] for p in positions], list(positions.values())
        )
        for place, offset in positions.items():
            if place in self._done:
                self._done[place] = max(offset, self._done[place])
        if self._leaving:
            async with self._balancing:
                await self._hand_over()

    async def lag(self) -> dict[str, int]:
        await self._ready()
        lag = dict.fromkeys(self._class_of, 0)
        for topic, partition, head in await self._session.rows(_HEADS, list(self._class_of)):
            lag[topic] += head - self._done.get((topic, partition), head)
        return lag

    async def close(self) -> None:
        self._closing = True
        self._members_changed.set()
        if self._keeper is not None:
            await asyncio.wait({self._keeper})
        with contextlib.suppress(Unavailable):
            await self._shares.leave()
            await self._tell_members()
        await self._session.close()

    async def _ready(self) -> None:
        """See to it that there is a session and we are a member; after a new one everything we owned counts as lost."""
        if self._session.is_open and self._session.epoch == self._epoch:
            return
        async with self._balancing:
            epoch = await self._session.open()
            if epoch == self._epoch:
                return
            self._forget(set(self._next), lost=True)
            await self._shares.enter()
            await self._balance()
            self._epoch = epoch

    async def _read(self, max_messages: int, skip: Collection[Place]) -> list[Delivered]:
        places = [place for place in self._next if place not in self._leaving and place not in skip]
        if not places:
            return []
        # Another partition goes first each time, so that a full one does not starve its neighbours.
        self._turn = (self._turn + 1) % len(places)
        places = places[self._turn :] + places[: self._turn]
        asked = {place: self._next[place] for place in places}
        rows = await self._session.rows(
            READ, [p[0] for p in places], [p[1] for p in places], list(asked.values()), max_messages
        )
        # A partition may have been handed over while we read, and even have come back with another position.
        ours = {place for place, offset in asked.items() if self._next.get(place) == offset} - self._leaving.keys()
        messages = [message for message in map(delivered, rows) if message.place in ours]
        for message in messages:
            self._next[message.place] = message.offset + 1
        return messages

    async def _keep(self) -> None:
        """Say every second that we live, and move towards the fair share."""
        while not self._closing:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BALANCE_EVERY_S):
                    await self._members_changed.wait()
            self._members_changed.clear()
            # Where the bus is away, `fetch` says so and opens the next session.
            with contextlib.suppress(Unavailable):
                if self._session.epoch == self._epoch:
                    async with self._balancing:
                        await self._balance()

    async def _balance(self) -> None:
        gained, surplus = await self._shares.balance()
        if gained:
            await self._begin({self._place(unit) for unit in gained})
        now_s = time.monotonic()
        for place in {self._place(unit) for unit in surplus} - self._leaving.keys():
            self._leaving[place] = now_s + DRAIN_S
        for place in [place for place in self._leaving if self._unit(place) not in surplus]:
            del self._leaving[place]
        if self._leaving:
            await self._hand_over()

    async def _begin(self, places: set[Place]) -> None:
        # Read under the lock: whoever had it before has committed by now.
        rows = await self._session.rows(_COMMITTED, self._group, [p[0] for p in places], [p[1] for p in places])
        committed = {(topic, partition): offset for topic, partition, offset in rows}
        for place in sorted(places):
            self._next[place] = self._done[place] = committed.get(place, 0)
        self._wake.set()

    async def _hand_over(self) -> None:
        """Give away the leaving partitions of which nothing is in the works, or that have taken too long over it."""
        now_s = time.monotonic()
        idle = {place for place in self._leaving if self._done[place] >= self._next[place]}
        late = {place for place, until_s in self._leaving.items() if until_s <= now_s} - idle
        if not idle and not late:
            return
        self._forget(idle, lost=False)
        self._forget(late, lost=True)
        await self._shares.release([self._unit(place) for place in idle | late])
        await self._tell_members()

    def _forget(self, places: set[Place], *, lost: bool) -> None:
        for place in places:
            self._next.pop(place, None)
            self._done.pop(place, None)
            self._leaving.pop(place, None)
        if lost:
            self._lost |= places

    async def _tell_members(self) -> None:
        await self._session.execute("SELECT pg_notify($1, $2)", MEMBERS, self._group)

    def _place(self, unit: Unit) -> Place:
        return (self._topics[unit.class_][0], unit.number)

    def _unit(self, place: Place) -> Unit:
        return Unit(self._class_of[place[0]], place[1])

    def _on_appended(self, _payload: str) -> None:
        self._wake.set()

    def _on_members(self, payload: str) -> None:
        if payload == self._group:
            self._members_changed.set()


def delivered(row: Record) -> Delivered:
    """A message from a row of `READ`."""
    topic, partition, offset, key, event_id, type_, value, headers = row
    return Delivered(
        topic=topic,
        partition=partition,
        offset=offset,
        key=key,
        id=str(event_id),
        type=type_,
        value=value,
        headers=_headers.decode(headers) if headers else {},
    )
