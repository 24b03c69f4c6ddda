"""Comparing two sets of a million rows that are on different servers: by digests, and row by row only where those differ.

Both sides are split into the same `BUCKETS` by a hash of the key; for each bucket its server adds up a hash of each row. Some
thousand numbers travel instead of the rows. Where the two servers hash differently (they may, on processors of different
byte order) every bucket differs and all rows travel: slower, and just as right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from tradewind.audit.look import Look
from tradewind.chassis.postgres import Record

BUCKETS = 16_384
SLICE = 1_024
"""Buckets whose rows are fetched at a time, so that memory stays bounded when all of them differ."""

MOST = 1_000
"""Differences after which a comparison stops: whoever has more will not read them one by one."""


class Digest(NamedTuple):
    """How many rows there are, and the sum of their hashes."""

    n: int
    digest: int


class Hashes(NamedTuple):
    """How keys, and rows of a key and a value, are hashed: 64-bit expressions over `key` and `value`."""

    key: str
    row: str


UUIDS = Hashes("uuid_hash_extended(key, 0)", "uuid_hash_extended(key, hashtextextended(value, 0))")
NUMBERED = Hashes("hashtextextended(key, 0)", "hashtextextended(key, value)")
"""Keys that are text, values that are numbers."""

# OFFSET 0 keeps the planner from expecting as many buckets as there are rows: it would sort them all.
_DIGEST = """
    SELECT bucket, count(*) AS n, sum(hashed) AS digest
    FROM (SELECT ({key} & {mask})::int AS bucket, {row} AS hashed FROM ({members}) AS side OFFSET 0) AS hashed GROUP BY 1
"""
_ROWS = "SELECT * FROM ({side}) AS side WHERE ({key} & {mask})::int = ANY(${argument}::int[])"


class Side(msgspec.Struct, frozen=True):
    """One side: a query with the columns `key`, unique, and `value`, what the other side must have for it, as text.

    Further columns are not compared, and are there in the differences. Where a value is made of many rows, `members` is the
    query of those, also with `key` and `value`: their digests are compared first, so that they need not be brought together.
    `digests`, by bucket, are given where they are known already.
    """

    look: Look
    sql: str
    args: tuple[object, ...] = ()
    members: str | None = None
    hashes: Hashes = UUIDS
    digests: Mapping[int, Digest] | None = None


class Difference(NamedTuple):
    """A key whose value differs; None: that side has no such key."""

    key: str
    one: Record | None
    other: Record | None

    @property
    def either(self) -> Record:
        """The row of the side that has one."""
        row = self.one or self.other
        assert row is not None
        return row


async def differences(one: Side, other: Side, *, ignoring: frozenset[str] = frozenset()) -> list[Difference]:
    """Keys that the two sides do not agree on, except those to ignore, in order; at most about `MOST`."""
    ours, theirs = await asyncio.gather(_digests(one), _digests(other))
    buckets = sorted(bucket for bucket in ours.keys() | theirs.keys() if ours.get(bucket) != theirs.get(bucket))
    found: list[Difference] = []
    for start in range(0, len(buckets), SLICE):
        some = buckets[start : start + SLICE]
        left, right = await asyncio.gather(_rows(one, some), _rows(other, some))
        found += [
            Difference(key, left.get(key), right.get(key))
            for key in sorted(left.keys() | right.keys())
            if key not in ignoring and _value(left.get(key)) != _value(right.get(key))
        ]
        if len(found) >= MOST:
            break
    return found


async def _digests(side: Side) -> Mapping[int, Digest]:
    if side.digests is not None:
        return side.digests
    sql = _DIGEST.format(key=side.hashes.key, row=side.hashes.row, mask=BUCKETS - 1, members=side.members or side.sql)
    return {row["bucket"]: Digest(row["n"], row["digest"]) for row in await side.look.rows(sql, *side.args)}


async def _rows(side: Side, buckets: list[int]) -> dict[str, Record]:
    sql = _ROWS.format(key=side.hashes.key, mask=BUCKETS - 1, side=side.sql, argument=len(side.args) + 1)
    return {str(row["key"]): row for row in await side.look.rows(sql, *side.args, buckets)}


def _value(row: Record | None) -> str | None:
    return None if row is None else row["value"]
