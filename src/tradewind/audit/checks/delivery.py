"""I4, the consumers' half: what a consumer has read is in its inbox, each event once.

The log and an inbox hold millions of ids on different servers. Event ids begin with their time, so both sides are cut into
slices of a minute, whose digests are compared; ids travel only for slices that differ. An inbox remembers longer than the
bus keeps, so slices that the bus has nothing of are left alone, and those at the edge of its retention differ as a rule.

The inbox row is written in the transaction of the effect, and so is a dead letter's. What customers were told has the id of
the event as well, so that effect is compared in the same way.
"""

# ruff: noqa: S608 - only the constants below are formatted into statements

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence

from tradewind.audit.books import Books
from tradewind.audit.bus_digests import SLICE, bus_digests
from tradewind.audit.compare import Digest
from tradewind.audit.consumers import handlers_of
from tradewind.audit.invariants import Violation
from tradewind.audit.motion import columns
from tradewind.chassis.events import Event
from tradewind.chassis.postgres import Record
from tradewind.contracts.auth import UserRegistered
from tradewind.contracts.order import OrderCancelled, OrderConfirmed, OrderDelivered, OrderShipped
from tradewind.contracts.payment import PaymentRefunded, PaymentRequiresAction

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
_KEPT = f"SELECT {SLICE.format('event_id')} AS slice, {_COUNTED.format('event_id')} FROM ({{}}) AS kept GROUP BY 1"
_READ = f"""
    SELECT DISTINCT ON (event_id) event_id, type, key, log.topic, log.partition, log."offset"
    FROM {_POSITIONS}
    JOIN log ON log.topic = read.topic AND log.partition = read.partition AND log."offset" < read.next_offset
    WHERE type = ANY($4::text[]) AND {SLICE.format("event_id")} = ANY($5::bytea[])
    ORDER BY event_id, log."offset"
"""
_NOT_ONCE = """
    SELECT wanted.event_id, count(kept.event_id) AS times FROM unnest($2::uuid[]) AS wanted (event_id)
    LEFT JOIN ({}) AS kept ON kept.event_id = wanted.event_id
    GROUP BY wanted.event_id HAVING count(kept.event_id) <> 1
"""
_INBOX = "SELECT event_id FROM inbox WHERE consumer_group = $1"
# One that gave rise to no notice for good reason is a dead letter, whatever was decided about it.
_NOTICES = """
    SELECT event_id FROM notification
    UNION ALL SELECT event_id FROM dead_letter WHERE consumer_group = $1 AND state <> 'replayed'
"""
NOTICED = (
    UserRegistered, OrderConfirmed, OrderCancelled, OrderShipped, OrderDelivered, PaymentRefunded, PaymentRequiresAction,
)  # fmt: skip
"""Events of which a customer is told, each by one notification."""

_NOTHING = Digest(0, 0)


async def taken_once(books: Books) -> list[Violation]:
    """Every event behind a consumer's position is in its inbox, once."""
    found: list[Violation] = []
    for room in books.rooms:
        handlers = handlers_of(room)
        if handlers is not None:
            found += await _not_kept(books, room, handlers.types, _INBOX, _not_taken)
    return found


async def noticed_once(books: Books) -> list[Violation]:
    """Every event behind notification-service's position that concerns a customer is a notification, once."""
    return await _not_kept(books, "notification", NOTICED, _NOTICES, _not_noticed)


async def _not_kept(
    books: Books, room: str, events: Collection[type[Event]], kept: str, breach: Callable[[str, Record, int], Violation]
) -> list[Violation]:
    """Breaches for each event that a room has read and keeps not once; `kept` is the query of what it keeps."""
    group = f"{room}-service"
    types = sorted(event.TYPE for event in events)
    read = books.read_by(group, {event.TOPIC for event in events})
    not_yet = await books.bus.rows(_NOT_READ_YET, *columns(read))
    due = _by_slice((await bus_digests(books)).events, not_yet, types)
    has = {row["slice"]: Digest(row["n"], row["digest"]) for row in await books[room].rows(_KEPT.format(kept), group)}
    suspect = [slice_ for slice_, digest in due.items() if digest.n and digest != has.get(slice_, _NOTHING)]
    if not suspect:
        return []
    read_events = {row["event_id"]: row for row in await books.bus.rows(_READ, *columns(read), types, suspect)}
    ids = list(read_events)
    found: list[Violation] = []
    for start in range(0, len(ids), CHUNK):
        for event_id, times in await books[room].rows(_NOT_ONCE.format(kept), group, ids[start : start + CHUNK]):
            found.append(breach(group, read_events[event_id], times))
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


def _told(event: Record) -> str:
    return f"{event['type']} of {event['key']} at {event['topic']}/{event['partition']}@{event['offset']}"


def _not_taken(group: str, event: Record, times: int) -> Violation:
    room = group.removesuffix("-service")
    return Violation(
        "I4",
        f"event {event['event_id']}",
        f"{group} has read past {_told(event)} without taking it"
        if times == 0
        else f"{group} has taken {_told(event)} {times} times",
        f"what should it have changed in {room}_service? Its inbox does not say that it did"
        if times == 0
        else f"what did it change twice in {room}_service? Its inbox has lost the primary key",
    )


def _not_noticed(group: str, event: Record, times: int) -> Violation:
    return Violation(
        "I4",
        f"event {event['event_id']}",
        f"{group} has taken {_told(event)}, and made {times} notifications of it",
        "notification_service.notification has what customers were told; tell them what is missing by hand",
    )
