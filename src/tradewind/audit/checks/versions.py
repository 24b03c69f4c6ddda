"""I4, the producers' half, and I5: what an aggregate says it has told is on the bus, each version once.

An aggregate counts its events, so its row says which versions there must be: 1 to n, in the outbox or on the bus. One that is
in neither was lost on the way (I4): off the outbox if it is the last, off the log if its partition has a hole. Any other gap,
and a version there twice, is wrong numbering (I5).

The bus forgets what is older than its retention. Ids of aggregates begin with their time, so it is plain which are young
enough to have all their events there; of the older ones the last version must be right, if the bus knows any.
"""

# ruff: noqa: S608 - only the constants below are formatted into statements

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from tradewind.audit.books import Books
from tradewind.audit.compare import Side, differences
from tradewind.audit.invariants import Violation
from tradewind.audit.motion import keys_in_motion
from tradewind.chassis.postgres import Record
from tradewind.chassis.transport import RETENTION_S, Place

CHUNK = 10_000
MOST_HOLES = 100

MARGIN_S = 3_600.0
"""How far clocks may differ, and how late retention may come: by so much an aggregate is taken for older."""

# Producer, which is also its topic: its aggregates, each with the number of events it has told.
AGGREGATES: Mapping[str, str] = {
    "auth": "SELECT id, version FROM account",
    "user": "SELECT id, event_version AS version FROM profile WHERE event_version > 0",
    "order": "SELECT id, event_version AS version FROM orders WHERE event_version > 0",
    "payment": "SELECT id, version FROM payment WHERE version > 0",
}

# The version is in the envelope, before the data. A message may be anything, also no text: what cannot be read is null.
_VERSION = """substring(encode(substring(value FOR 512), 'escape') FROM '"aggregateversion"\\s*:\\s*([0-9]{1,9})')::bigint"""
# Exactly 1 to n, each once, makes n rows with n different bits; then the value is n. All else is written out.
_ON_THE_BUS = f"""
    SELECT key, CASE
        WHEN max(version) < 62 AND count(*) = max(version) AND bit_or(1::bigint << version::int) = (2::bigint << max(version)::int) - 2
        THEN max(version)::text
        ELSE coalesce(min(version), 0) || ' to ' || coalesce(max(version), 0) || ' in ' || count(*)
        END AS value, min(partition) AS partition
    FROM (
        SELECT key, partition, {_VERSION} AS version FROM log WHERE topic = $1 AND key COLLATE "C" >= $2
    ) AS message GROUP BY key
"""
_TOLD = "SELECT id::text AS key, version::text AS value, version FROM ({}) AS aggregate WHERE id >= $1::uuid"
_EVENTS_OF = f"""
    SELECT key, partition, event_id, {_VERSION} AS version FROM log WHERE topic = $1 AND key = ANY($2::text[])
"""
_OLD = f"""
    SELECT key, max({_VERSION}) AS version FROM log WHERE topic = $1 AND key COLLATE "C" < $2 GROUP BY key
"""
_OLD_TOLD = """
    SELECT wanted.key, aggregate.version FROM unnest($1::uuid[]) AS wanted (key) LEFT JOIN ({}) AS aggregate ON aggregate.id = wanted.key
"""
_EXTENT = """
    SELECT p.topic, p.partition, p.head, count(*) AS n, min(l."offset") AS first, max(l."offset") AS last
    FROM partition p JOIN log l ON l.topic = p.topic AND l.partition = p.partition GROUP BY p.topic, p.partition
"""
# A hole between two messages, the first of them younger than the retention: nothing behind it was old enough to be deleted.
_HOLES = """
    SELECT "offset" + 1 AS first, next - 1 AS last FROM (
        SELECT "offset", appended_at, lead("offset", 1, $3::bigint) OVER (ORDER BY "offset") AS next FROM log
        WHERE topic = $1 AND partition = $2
    ) AS message WHERE next <> "offset" + 1 AND appended_at > $4 ORDER BY 1 LIMIT $5
"""


class Told(NamedTuple):
    """An aggregate, the versions it has told, and what the bus has of them: (version, event id), and the partition."""

    key: str
    version: int
    events: list[tuple[int, str]]
    partition: int | None


async def told_once(books: Books) -> list[Violation]:
    """Every version that an aggregate has told is on the bus, once, and nothing is missing from the log."""
    now = await books.bus.value("SELECT now()")
    young_since = now - timedelta(seconds=RETENTION_S - MARGIN_S)
    holes = await _holes(books, young_since)
    found: list[Violation] = []
    for producer, aggregates in AGGREGATES.items():
        for told in await _suspects(books, producer, aggregates, _first_id(young_since)):
            found += _judge(producer, told, holes)
        found += await _older(books, producer, aggregates, _first_id(young_since))
    # A hole that no aggregate has explained by now was an event nobody misses by its number.
    found += [
        _lost(f"{topic}/{partition}@{first}", f"offsets {first} to {last} of {topic}/{partition} are gone from the log")
        for (topic, partition), gaps in holes.items()
        for first, last in gaps
    ]
    return found


def _first_id(moment: datetime) -> str:
    """The lowest id (UUIDv7) made at `moment`."""
    return f"{int(moment.timestamp() * 1000):012x}".join(("", "-7000-8000-000000000000")).replace("-", "", 0)
