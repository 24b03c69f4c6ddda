"""A long history out of a short one: every row that real services left behind, many times over, as other people's at other times.

Measuring at a million orders needs a million that hang together: in every database, on the bus, in every inbox and in the
provider's books. Traffic would take hours to make them, and statements written for it would drift from what services write.
So a story is lived through once, by real services, and its rows are multiplied (`pattern.py` says how); what counts over all
stories, stock and offsets, is brought in line. Nobody may be at work on the databases meanwhile.
"""

# ruff: noqa: S608 - names of tables and columns come from the catalogue of the database

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import msgspec

from tradewind.bench.pattern import Copy, Pattern
from tradewind.chassis.transport import partition_of

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

NOT_A_STORY = frozenset({"alembic_version", "session"})
"""Tables left alone: refresh tokens are unique by a digest of what nobody knows."""

CHUNK_BYTES = 1_000_000

_TABLES = """
    SELECT c.relname AS name, array_agg(a.attname::text ORDER BY a.attnum) AS columns,
        array_agg(a.attname::text) FILTER (WHERE a.attidentity <> '' OR EXISTS (
            SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indnatts = 1 AND i.indkey[0] = a.attnum
                AND a.atttypid IN ('int4'::regtype, 'int8'::regtype)
        )) AS serials
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace GROUP BY c.oid, c.relname ORDER BY c.relname
"""
_SEQUENCES = "SELECT schemaname || '.' || sequencename FROM pg_sequences"
_STOCK = """
    UPDATE stock SET available = available - $1 * (reserved + sold), reserved = reserved * ($1 + 1), sold = sold * ($1 + 1)
"""
_ENDS = 'UPDATE partition SET head = (SELECT coalesce(max("offset") + 1, 0) FROM log WHERE log.topic = partition.topic AND log.partition = partition.partition)'
_READ = """
    INSERT INTO consumer_offset (consumer_group, topic, partition, next_offset)
    SELECT s.consumer_group, p.topic, p.partition, p.head FROM subscription s JOIN partition p USING (topic)
    ON CONFLICT (consumer_group, topic, partition) DO UPDATE SET next_offset = EXCLUDED.next_offset
"""


class Growth(msgspec.Struct, frozen=True):
    """`copies` more of a story, spread evenly over the `days` before it."""

    copies: int
    days: float

    def __iter__(self) -> Iterator[Copy]:
        for number in range(1, self.copies + 1):
            earlier_ms = self.days * 86_400_000 * (self.copies + 1 - number) / self.copies
            yield Copy(number, -int(earlier_ms))


async def multiply(url: str, growth: Growth) -> int:
    """Multiply what is in a room's database, or the bus's; returns how many rows were added. `url` is the superuser's.

    Raises:
        asyncpg.PostgresError: what the services keep unique is not made of ids, addresses, moments and serials alone.
    """
    connection = await asyncpg.connect(url)
    added = 0
    try:
        # No triggers and no foreign keys: what is copied was checked when it was written.
        await connection.execute("SET session_replication_role = replica; SET synchronous_commit = off")
        async with connection.transaction():
            for name, columns, serials in await connection.fetch(_TABLES):
                if name not in NOT_A_STORY:
                    added += await _multiply_table(connection, name, columns, serials or [], growth)
            for (sequence,) in await connection.fetch(_SEQUENCES):
                await connection.execute(f"SELECT setval('{sequence}', nextval('{sequence}') * {growth.copies + 1})")
            await _bring_in_line(connection, growth)
        await connection.execute("VACUUM (ANALYZE)")
    finally:
        await connection.close()
    return added


async def _multiply_table(
    connection: Connection, name: str, columns: Sequence[str], serials: Sequence[str], growth: Growth
) -> int:
    listed = ", ".join(f'"{column}"' for column in columns)
    rows = await connection.fetch(f'SELECT {listed} FROM "{name}" ORDER BY ctid')
    at = [columns.index(serial) for serial in serials]
    numbers = [row[index] for row in rows for index in at]
    span = max(numbers) - min(numbers) + 1 if numbers else 0
    pattern = Pattern(at, span=span)
    kept = [row for row in rows if pattern.add(tuple(row.values()))]
    if not kept:
        return 0
    told = _told(pattern, growth)
    if name == "log":
        told = _at_their_places(told, columns, await _heads(connection))
    await connection.copy_to_table(name, source=_chunks(told), columns=list(columns), format="text")
    return len(kept) * growth.copies


def _told(pattern: Pattern, growth: Growth) -> Iterator[bytes]:
    render = pattern.lines()
    for copy in growth:
        yield render(copy)


async def _heads(connection: Connection) -> dict[str, list[int]]:
    heads: dict[str, list[int]] = {}
    for topic, head in await connection.fetch("SELECT topic, head FROM partition ORDER BY topic, partition"):
        heads.setdefault(topic, []).append(head)
    return heads


def _at_their_places(told: Iterator[bytes], columns: Sequence[str], heads: Mapping[str, list[int]]) -> Iterator[bytes]:
    """Messages where the bus puts them: the partition is of the key, offsets are dense."""
    topic_at, partition_at, offset_at, key_at = (
        columns.index(name) for name in ("topic", "partition", "offset", "key")
    )
    for lines in told:
        placed: list[bytes] = []
        for line in lines.splitlines():
            fields = line.split(b"\t")
            next_offsets = heads[fields[topic_at].decode()]
            partition = partition_of(fields[key_at].decode(), len(next_offsets))
            fields[partition_at], fields[offset_at] = b"%d" % partition, b"%d" % next_offsets[partition]
            next_offsets[partition] += 1
            placed.append(b"\t".join(fields))
        yield b"\n".join(placed) + b"\n"


async def _chunks(told: Iterator[bytes]) -> AsyncIterator[bytes]:
    waiting: list[bytes] = []
    size = 0
    for lines in told:
        waiting.append(lines)
        size += len(lines)
        if size > CHUNK_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    yield b"".join(waiting)


async def _bring_in_line(connection: Connection, growth: Growth) -> None:
    """What counts over all stories."""
    if await connection.fetchval("SELECT to_regclass('stock')"):
        await connection.execute(_STOCK, growth.copies)
    if await connection.fetchval("SELECT to_regclass('consumer_offset')"):
        await connection.execute(_ENDS)
        await connection.execute(_READ)


def multiply_charges(path: Path, growth: Growth) -> int:
    """Multiply what the sandbox provider keeps in the file at `path`, which nobody has open; returns the rows added."""
    connection = sqlite3.connect(path, isolation_level=None)
    added = 0
    try:
        connection.execute("BEGIN IMMEDIATE")
        for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
            added += _multiply_charges_table(connection, name, growth)
        connection.execute("COMMIT")
    finally:
        connection.close()
    return added


def _multiply_charges_table(connection: sqlite3.Connection, name: str, growth: Growth) -> int:
    cursor = connection.execute(f"SELECT * FROM {name} ORDER BY 1")
    columns = [column[0] for column in cursor.description]
    rows = cursor.fetchall()
    serials = [at for at, column in enumerate(columns) if column == "seq"]
    span = max((row[0] for row in rows), default=0) if serials else 0
    pattern = Pattern(serials, span=span)
    kept = [row for row in rows if pattern.add(row)]
    if not kept:
        return 0
    of_bytes = frozenset(at for at, value in enumerate(kept[0]) if isinstance(value, bytes))
    insert = f"INSERT INTO {name} VALUES ({', '.join('?' * len(columns))})"
    for lines in _told(pattern, growth):
        connection.executemany(insert, (_stored(line, of_bytes) for line in lines.splitlines()))
    return len(kept) * growth.copies


def _stored(line: bytes, of_bytes: frozenset[int]) -> list[Any]:
    """A line of COPY as values for SQLite, which makes numbers of text where its column wants numbers."""
    values: list[Any] = []
    for at, field in enumerate(line.split(b"\t")):
        if field == b"\\N":
            values.append(None)
        elif at in of_bytes and field.startswith(b"\\\\x"):
            values.append(bytes.fromhex(field[3:].decode()))
        elif at in of_bytes:
            values.append(field.replace(b"\\\\\\\\", b"\\"))
        else:
            values.append(field.decode())
    return values
