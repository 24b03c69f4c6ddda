"""Digests of all there is on the bus, made in one pass over its largest table: what two checks compare with the rooms."""

# ruff: noqa: S608 - only the constants below are formatted into statements

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

import msgspec

from tradewind.audit.books import Books
from tradewind.audit.compare import BUCKETS, Digest

MARGIN_S = 3_600.0
"""How far clocks may differ: by so much an aggregate is taken for older than its id says."""

# 32 bits of the 48 that count milliseconds: slices of 65.5 s. As bytes, which takes half the time of text.
SLICE = "substring(uuid_send({}) FOR 4)"

# The version is in the envelope, before the data, and our encoder ends it with a comma. Searching bytes and cutting text
# takes a tenth of a regular expression's time, so that looks only at what was written otherwise. A message may be anything,
# also no text: what cannot be read is null. OFFSET 0 keeps the planner from cutting wherever the cut is mentioned, and,
# below, from taking hashes for as many groups as there are rows: it would sort them all.
_CUT = """
    split_part(encode(substring(value FROM position('"aggregateversion":'::bytea IN value) + 19 FOR 10), 'escape'), ',', 1)
"""
_FIELD = """
    split_part(split_part(split_part(encode(substring(value FOR 512), 'escape'), '"aggregateversion"', 2), ',', 1), '}', 1)
"""
VERSIONS = f"""
    SELECT topic, type, key, event_id, CASE
        WHEN length(cut) BETWEEN 1 AND 9 AND ltrim(cut, '0123456789') = '' THEN cut::bigint
        ELSE substring(btrim({_FIELD}, ' :') FROM '^[0-9]{{1,9}}$')::bigint END AS version
    FROM (SELECT topic, type, key, event_id, value, {_CUT} AS cut FROM log OFFSET 0) AS message
"""
"""The messages, with the version that each gives its aggregate."""

_DIGESTS = f"""
    SELECT topic, bucket, type, slice, CASE WHEN topic IS NULL THEN count(*) ELSE count(numbered) END AS n,
        CASE WHEN topic IS NULL THEN sum(identified) ELSE sum(numbered) END AS digest, count(*) FILTER (WHERE old) AS old
    FROM (
        SELECT topic, (hashtextextended(key, 0) & {BUCKETS - 1})::int AS bucket, type, {SLICE.format("event_id")} AS slice,
            uuid_hash_extended(event_id, 0) AS identified,
            CASE WHEN key COLLATE "C" >= $1 THEN hashtextextended(key, version) END AS numbered,
            key COLLATE "C" < $1 AS old
        FROM ({VERSIONS} OFFSET 0) AS message OFFSET 0
    ) AS hashed
    GROUP BY GROUPING SETS ((type, slice), (topic, bucket))
"""


class BusDigests(msgspec.Struct, frozen=True):
    """`events`: by type and slice of their ids. `versions`: by topic and bucket of the key, of keys from `first_id` on,
    those that were made since `young_since`. `with_old`: topics that have keys before it.
    """

    young_since: datetime
    first_id: str
    events: Mapping[str, Mapping[bytes, Digest]]
    versions: Mapping[str, Mapping[int, Digest]]
    with_old: Collection[str]


async def bus_digests(books: Books) -> BusDigests:
    """The digests; asked for once, however many checks want them.

    Keys begin with the time they were made, as ids do: those from `first_id` on are young enough that the bus must have
    all that was ever said of them.
    """
    return await books.once(_ask)


async def _ask(books: Books) -> BusDigests:
    now: datetime = await books.bus.value("SELECT now()")
    young_since = now - timedelta(seconds=books.limits.retention_s - MARGIN_S)
    first_id = _first_id(young_since)
    events: dict[str, dict[bytes, Digest]] = defaultdict(dict)
    versions: dict[str, dict[int, Digest]] = defaultdict(dict)
    with_old: set[str] = set()
    for topic, bucket, type_, slice_, n, digest, old in await books.bus.rows(_DIGESTS, first_id):
        if topic is None:
            events[type_][slice_] = Digest(n, digest)
            continue
        if old:
            with_old.add(topic)
        if n:
            versions[topic][bucket] = Digest(n, digest)
    return BusDigests(young_since, first_id, events, versions, with_old)


def _first_id(moment: datetime) -> str:
    """The lowest id (UUIDv7) that was made at `moment`."""
    ms = f"{int(moment.timestamp() * 1000):012x}"
    return f"{ms[:8]}-{ms[8:]}-7000-8000-000000000000"
