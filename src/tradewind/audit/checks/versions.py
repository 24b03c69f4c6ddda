"""I4, the producers' half, and I5: what an aggregate says it has told is on the bus, each version once.

An aggregate counts its events, so its row says which versions there must be: 1 to n, in the outbox or on the bus. One that is
in neither was lost on its way (I4): out of the outbox if it is the last, out of the log if that has a hole. Any other gap, and
a version that two events have, is wrong numbering (I5).

The bus forgets what is older than its retention. Ids of aggregates begin with their time, so it is plain which are young
enough to have all their events there; of an older one the last version must be there, if any is.
"""

# ruff: noqa: S608 - only the constants below are formatted into statements

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tradewind.audit.books import Books
from tradewind.audit.bus_digests import VERSIONS, BusDigests, bus_digests
from tradewind.audit.checks.log import Gaps, find_gaps
from tradewind.audit.compare import NUMBERED, Side, differences
from tradewind.audit.invariants import Name, Violation
from tradewind.audit.motion import keys_in_motion
from tradewind.chassis.ids import is_id
from tradewind.chassis.transport import Place, partition_of

CHUNK = 10_000
# Producer, which is also the name of its topic: its aggregates, each with the number of events it has told.
AGGREGATES: Mapping[str, str] = {
    "auth": "SELECT id, version FROM account",
    "user": "SELECT id, event_version AS version FROM profile WHERE event_version > 0",
    "order": "SELECT id, event_version AS version FROM orders WHERE event_version > 0",
    "payment": "SELECT id, version FROM payment WHERE version > 0",
}

# Versions 1 to n, each once, are n rows with n different bits; then the value is n. All else is looked at one by one.
_ON_THE_BUS = f"""
    SELECT key, CASE
        WHEN max(version) < 62 AND count(*) = max(version)
            AND bit_or(1::bigint << version::int) = (2::bigint << max(version)::int) - 2 THEN max(version)::text
        ELSE 'not 1 to n' END AS value
    FROM ({VERSIONS}) AS message WHERE topic = $1 AND key COLLATE "C" >= $2 AND version IS NOT NULL GROUP BY key
"""
_TOLD = "SELECT id::text AS key, version::text AS value, version FROM ({}) AS aggregate WHERE id >= $1::text::uuid"
_TOLD_ONE_BY_ONE = """
    SELECT id::text AS key, generate_series(1, version) AS value FROM ({}) AS aggregate WHERE id >= $1::text::uuid
"""
_EVENTS = f"""
    SELECT DISTINCT key, event_id, version FROM ({VERSIONS}) AS message WHERE topic = $1 AND key = ANY($2::text[])
"""
_OLD = 'SELECT DISTINCT key FROM log WHERE topic = $1 AND key COLLATE "C" < $2'
_OLD_TOLD = "SELECT id::text AS key, version FROM ({}) AS aggregate WHERE id = ANY($1::uuid[])"


class Aggregate(NamedTuple):
    """An aggregate: how many events it has told (None: there is no such), and the ids of those on the bus by version."""

    topic: str
    key: str
    told: int | None
    on_the_bus: Mapping[int, list[str]]


async def told_once(books: Books) -> list[Violation]:
    """Every version that an aggregate has told is on the bus, once, and nothing else is missing from the log."""
    digests = await bus_digests(books)
    gaps = await find_gaps(books, digests.young_since)
    found: list[Violation] = []
    for producer in AGGREGATES:
        moving = await keys_in_motion(books, producer)
        for aggregate in await _young(books, producer, digests, moving):
            found += _judge(books, aggregate, gaps, first=1)
        for aggregate in await _old(books, producer, digests, moving):
            found += _judge(books, aggregate, gaps, first=min(aggregate.on_the_bus))
    for (topic, partition), offsets in gaps.left():
        subject = f"{topic}/{partition}@{offsets[0]}"
        found.append(_breach("I4", subject, f"{len(offsets)} messages are gone from the log, from here on", topic))
    return found


async def _young(books: Books, producer: str, digests: BusDigests, moving: frozenset[str]) -> list[Aggregate]:
    """Aggregates whose events must all be on the bus, and are not there as they should."""
    different = await differences(
        Side(
            books.bus,
            _ON_THE_BUS,
            (producer, digests.first_id),
            hashes=NUMBERED,
            digests=digests.versions.get(producer, {}),
        ),
        Side(
            books[producer],
            _TOLD.format(AGGREGATES[producer]),
            (digests.first_id,),
            members=_TOLD_ONE_BY_ONE.format(AGGREGATES[producer]),
            hashes=NUMBERED,
        ),
        ignoring=moving,
    )
    events = await _events(books, producer, [key for key, on_the_bus, _ in different if on_the_bus])
    return [
        Aggregate(producer, key, told["version"] if told else None, events.get(key, {})) for key, _, told in different
    ]


async def _old(books: Books, producer: str, digests: BusDigests, moving: frozenset[str]) -> list[Aggregate]:
    """Aggregates that may have lost their first events to the retention, and still have some."""
    if producer not in digests.with_old:
        return []
    rows = await books.bus.rows(_OLD, producer, digests.first_id)
    keys = [row["key"] for row in rows if row["key"] not in moving]
    found: list[Aggregate] = []
    for start in range(0, len(keys), CHUNK):
        chunk = keys[start : start + CHUNK]
        events = await _events(books, producer, chunk)
        ids = [key for key in chunk if is_id(key)]
        rows = await books[producer].rows(_OLD_TOLD.format(AGGREGATES[producer]), ids)
        told = {row["key"]: row["version"] for row in rows}
        found += [Aggregate(producer, key, told.get(key), events[key]) for key in chunk if events[key]]
    return found


async def _events(books: Books, topic: str, keys: list[str]) -> dict[str, dict[int, list[str]]]:
    """What the bus has of these: ids of events by version. Only for a few: the log has no index for it."""
    events: dict[str, dict[int, list[str]]] = {key: defaultdict(list) for key in keys}
    if keys:
        for row in await books.bus.rows(_EVENTS, topic, keys):
            if row["version"] is not None:
                events[row["key"]][row["version"]].append(str(row["event_id"]))
    return events


def _judge(books: Books, aggregate: Aggregate, gaps: Gaps, *, first: int) -> Iterator[Violation]:
    topic, key, told, on_the_bus = aggregate
    subject = f"{topic} {key}"
    if told is None:
        yield _breach("I5", subject, f"the bus has versions {_listed(on_the_bus)} of it, and there is no such", topic)
        return
    missing = [version for version in range(first, told + 1) if version not in on_the_bus]
    if missing:
        place = _place(books, topic, key)
        if gaps.explain(place, len(missing), at_the_beginning=missing[-1] < min(on_the_bus, default=told + 1)):
            where = f"gone from the log of {topic}/{place[1]}"
            yield _breach("I4", subject, f"it has told {told} versions; {_listed(missing)} is {where}", topic)
        elif missing[0] > max(on_the_bus, default=0):
            yield _breach(
                "I4", subject, f"it has told {told} versions; {_listed(missing)} never reached the bus", topic
            )
        else:
            yield _breach("I5", subject, f"of its versions 1 to {told} the bus does not have {_listed(missing)}", topic)
    if beyond := [version for version in on_the_bus if version > told]:
        yield _breach("I5", subject, f"it has told {told} versions, and the bus has {_listed(beyond)}", topic)
    for version, event_ids in sorted(on_the_bus.items()):
        if len(event_ids) > 1:
            named = ", ".join(sorted(event_ids))
            yield _breach("I5", subject, f"{len(event_ids)} events are its version {version}: {named}", topic)


def _place(books: Books, topic: str, key: str) -> Place:
    partitions = sum(of == topic for of, _ in books.heads)
    return topic, partition_of(key, max(partitions, 1))


def _listed(versions: Mapping[int, object] | list[int]) -> str:
    return ", ".join(str(version) for version in sorted(versions))


def _breach(invariant: Name, subject: str, detail: str, topic: str) -> Violation:
    if invariant == "I4":
        next_step = "what did its consumers miss? Their databases do not have its effect: give it by hand, or restore"
    else:
        next_step = (
            f"its events are in bus.log, topic {topic}; whatever reads them in order may have stopped at the gap"
        )
    return Violation(invariant, subject, detail, next_step)
