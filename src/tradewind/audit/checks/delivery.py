"""I4, the consumers' half: what a consumer has read is in its inbox, each event once.

The log and an inbox hold millions of ids on different servers. Event ids begin with their time, so both sides are cut into
slices of a minute, whose digests are compared; ids travel only for slices that differ. An inbox remembers longer than the
bus keeps, so slices that the bus has nothing of are left alone, and those at the edge of its retention differ as a rule.

The inbox row is written in the transaction of the effect, and so is a dead letter's.
"""

# ruff: noqa: S608 - only the constants below are formatted into statements

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from tradewind.audit.books import Books
from tradewind.audit.bus_digests import SLICE, bus_digests
from tradewind.audit.compare import Digest
from tradewind.audit.consumers import handlers_of
from tradewind.audit.invariants import Violation
from tradewind.audit.motion import columns
from tradewind.chassis.consumer import Handlers
from tradewind.chassis.postgres import Record

CHUNK = 10_000
MOST = 1_000
"""Missing events of one consumer after which no more are named."""

_COUNTED = "count(*) AS n, sum(uuid_hash_extended({}, 0)) AS digest"
_POSITIONS = "unnest($1::text[], $2::int[], $3::bigint[]) AS read (topic, partition, next_offset)"
# LATERAL: a few messages behind each position are found by the index; the planner would rather join the whole log.
_NOT_READ_YET = f"""
    SELECT type, {SLICE.format("event_id")} AS slice, {_COUNTED.format("event_id")}
    FROM {_POSITIONS} CROSS JOIN LATERAL (
        SELECT type, event_id FROM log
        WHERE log.topic = read.topic AND log.partition = read.partition AND log."offset" >= read.next_offset OFFSET 0
    ) AS message GROUP BY 1, 2
"""
_TAKEN = f"""
    SELECT {SLICE.format("event_id")} AS slice, {_COUNTED.format("event_id")} FROM inbox WHERE consumer_group = $1 GROUP BY 1
"""
_READ = f"""
    SELECT DISTINCT ON (event_id) event_id, type, key, log.topic, log.partition, log."offset"
    FROM {_POSITIONS}
    JOIN log ON log.topic = read.topic AND log.partition = read.partition AND log."offset" < read.next_offset
    WHERE type = ANY($4::text[]) AND {SLICE.format("event_id")} = ANY($5::bytea[])
    ORDER BY event_id, log."offset"
"""
_NOT_ONCE = """
    SELECT wanted.event_id, count(inbox.event_id) AS times FROM unnest($2::uuid[]) AS wanted (event_id)
    LEFT JOIN inbox ON inbox.consumer_group = $1 AND inbox.event_id = wanted.event_id
    GROUP BY wanted.event_id HAVING count(inbox.event_id) <> 1
"""


_NOTHING = Digest(0, 0)


async def taken_once(books: Books) -> list[Violation]:
    """Every event behind a consumer's position is in its inbox, once."""
    on_the_bus = (await bus_digests(books)).events
    found: list[Violation] = []
    for room in books.rooms:
        handlers = handlers_of(room)
        if handlers is not None:
            found += await _taken_once_by(books, room, handlers, on_the_bus)
    return found


async def _taken_once_by(
    books: Books, room: str, handlers: Handlers[object], on_the_bus: Mapping[str, Mapping[bytes, Digest]]
) -> list[Violation]:
    group = f"{room}-service"
    types = sorted(event.TYPE for event in handlers.types)
    read = books.read_by(group, handlers.topics)
    not_yet = await books.bus.rows(_NOT_READ_YET, *columns(read))
    due = _by_slice(on_the_bus, not_yet, types)
    taken = {row["slice"]: Digest(row["n"], row["digest"]) for row in await books[room].rows(_TAKEN, group)}
    suspect = [slice_ for slice_, digest in due.items() if digest.n and digest != taken.get(slice_, _NOTHING)]
    if not suspect:
        return []
    events = {row["event_id"]: row for row in await books.bus.rows(_READ, *columns(read), types, suspect)}
    ids = list(events)
    found: list[Violation] = []
    for start in range(0, len(ids), CHUNK):
        for event_id, times in await books[room].rows(_NOT_ONCE, group, ids[start : start + CHUNK]):
            found.append(_breach(group, events[event_id], times))
        if len(found) >= MOST:
            break
    return found


def _by_slice(
    on_the_bus: Mapping[str, Mapping[bytes, Digest]], not_yet: Sequence[Record], types: Collection[str]
) -> Mapping[bytes, Digest]:
    """What a consumer of `types` must have taken: all there is, less what it has not read yet."""
    due: dict[bytes, Digest] = defaultdict(lambda: _NOTHING)
    for type_ in types:
        for slice_, (count, digest) in on_the_bus.get(type_, {}).items():
            before = due[slice_]
            due[slice_] = Digest(before.n + count, before.digest + digest)
    for type_, slice_, count, digest in not_yet:
        if type_ in types:
            before = due[slice_]
            due[slice_] = Digest(before.n - count, before.digest - digest)
    return due


def _breach(group: str, event: Record, times: int) -> Violation:
    room = group.removesuffix("-service")
    place = f"{event['topic']}/{event['partition']}@{event['offset']}"
    told = f"{event['type']} of {event['key']} at {place}"
    return Violation(
        "I4",
        f"event {event['event_id']}",
        f"{group} has read past {told} without taking it" if times == 0 else f"{group} has taken {told} {times} times",
        f"what should it have changed in {room}_service? Its inbox does not say that it did"
        if times == 0
        else f"what did it change twice in {room}_service? Its inbox has lost the primary key",
    )
