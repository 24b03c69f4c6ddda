"""A look into one database: it only reads, and says by name which database is away."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import msgspec

from tradewind.chassis.errors import Unavailable
from tradewind.chassis.postgres import Record, dedicated_connection, is_away

CONNECT_NAME = "tradewind audit"
CLOSE_TIMEOUT_S = 5.0
WORK_MEMORY = "128MB"
PARALLEL_WORKERS = 2
LONGEST = "15min"
"""For a statement, and between two: nobody holds on to old rows for longer by accident."""

# A look waits while others are looked into, longer than servers let a transaction idle. The set comparisons group by the
# million: with the 4 MB that a server gives by default they would go through the disk.
_BEGIN = f"""
    BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
    SET LOCAL idle_in_transaction_session_timeout = '{LONGEST}';
    SET LOCAL statement_timeout = '{LONGEST}';
    SET LOCAL work_mem = '{WORK_MEMORY}';
    SET LOCAL max_parallel_workers_per_gather = {PARALLEL_WORKERS};
    SET LOCAL jit = off;
    SET LOCAL plan_cache_mode = force_custom_plan;
    SELECT pg_current_snapshot()
"""
_REFUSED = ("28000", "28P01", "3D000", "42501")
_OTHER_SCHEMA = ("42P01", "42703", "42883")


class Meter(msgspec.Struct):
    """Seconds that statements took; those of the current task, and of tasks it starts, count into `METER` where it is set."""

    seconds: float = 0.0


METER: ContextVar[Meter | None] = ContextVar("meter", default=None)


class Look:
    """One connection to the database of `name`: each statement sees its own moment until `freeze`, and then all the same."""

    def __init__(self, name: str, connection: Any) -> None:
        self.name = name
        self._connection = connection
        self._one_at_a_time = asyncio.Lock()

    async def rows(self, sql: str, *args: object) -> list[Record]:
        """All rows of a query.

        Raises:
            Unavailable: the database went away, or is not the one this version reads.
        """
        async with self._one_at_a_time:
            with _naming(self.name), _metered():
                found: list[Record] = await self._connection.fetch(sql, *args)
                return found

    async def value(self, sql: str, *args: object) -> Any:
        """The first column of the first row; raises as `rows` does."""
        found = await self.rows(sql, *args)
        return found[0][0] if found else None

    async def execute(self, sql: str) -> None:
        """Run statements that are about this session alone; raises as `rows` does."""
        async with self._one_at_a_time:
            with _naming(self.name):
                await self._connection.execute(sql)

    async def copy(self, table: str, columns: Sequence[str], rows: Sequence[tuple[object, ...]]) -> None:
        """Fill a temporary table of this session; raises as `rows` does."""
        async with self._one_at_a_time:
            with _naming(self.name):
                await self._connection.copy_records_to_table(table, columns=list(columns), records=rows)

    async def freeze(self) -> None:
        """Read one snapshot, of now, from here on; raises as `rows` does."""
        async with self._one_at_a_time:
            with _naming(self.name):
                await self._connection.execute(_BEGIN)


@contextlib.asynccontextmanager
async def open_looks(urls: Mapping[str, str]) -> AsyncIterator[dict[str, Look]]:
    """A look into each of the databases, at the same time.

    Raises:
        Unavailable: one of them is away, or refuses us; it is named.
    """
    async with contextlib.AsyncExitStack() as stack:

        async def connect(name: str, url: str) -> Look:
            with _naming(name):
                connection = await dedicated_connection(url, application_name=CONNECT_NAME)
            stack.push_async_callback(connection.close, timeout=CLOSE_TIMEOUT_S)
            return Look(name, connection)

        opened = await asyncio.gather(*(connect(*item) for item in urls.items()), return_exceptions=True)
        for failure in opened:
            if isinstance(failure, BaseException):
                raise failure
        yield {look.name: look for look in opened if isinstance(look, Look)}


@contextlib.contextmanager
def _metered() -> Iterator[None]:
    started_s = time.perf_counter()
    try:
        yield
    finally:
        if (meter := METER.get()) is not None:
            meter.seconds += time.perf_counter() - started_s


@contextlib.contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as exc:
        state = getattr(exc, "sqlstate", None)
        if isinstance(exc, Unavailable) or is_away(exc):
            raise Unavailable("database-unavailable", f"The database of {name} is away.") from exc
        if state in _REFUSED:
            raise Unavailable("database-refused", f"The database of {name} refuses the audit: {exc}.") from exc
        if state in _OTHER_SCHEMA:
            detail = f"The database of {name} is not migrated to this version: {exc}."
            raise Unavailable("database-not-migrated", detail) from exc
        if state is not None:
            raise Unavailable("database-failed", f"The database of {name} cannot be read: {exc}.") from exc
        raise
