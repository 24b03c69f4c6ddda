"""Comparing two sets of a million rows that are on different servers: by digests, and row by row only where those differ.

Both sides are split into the same `BUCKETS` by a hash of the key; for each bucket its server adds up a hash of each row. A few
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

BUCKETS = 4_096
SLICE = 256
"""Buckets whose rows are fetched at a time, so that memory stays bounded when all of them differ."""

MOST = 1_000
"""Differences after which a comparison stops: whoever has more will not read them one by one."""

_BUCKET = f"(hashtextextended(key, 0) & {BUCKETS - 1})::int"
_DIGEST = """
    SELECT {bucket} AS bucket, count(*) AS n, sum(hashtextextended(value, hashtextextended(key, 0))) AS digest
    FROM ({side}) AS side GROUP BY 1
"""
_ROWS = "SELECT * FROM ({side}) AS side WHERE {bucket} = ANY(${argument}::int[])"


class Side(msgspec.Struct, frozen=True):
    """One side: a query with the columns `key`, unique, and `value`, what the other side must have for it; both text.

    Further columns are not compared, and are there in the differences.
    """

    look: Look
    sql: str
    args: tuple[object, ...] = ()


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


async def _digests(side: Side) -> Mapping[int, tuple[int, int]]:
    rows = await side.look.rows(_DIGEST.format(bucket=_BUCKET, side=side.sql), *side.args)
    return {row["bucket"]: (row["n"], row["digest"]) for row in rows}


async def _rows(side: Side, buckets: list[int]) -> dict[str, Record]:
    sql = _ROWS.format(bucket=_BUCKET, side=side.sql, argument=len(side.args) + 1)
    return {row["key"]: row for row in await side.look.rows(sql, *side.args, buckets)}


def _value(row: Record | None) -> str | None:
    return None if row is None else row["value"]
