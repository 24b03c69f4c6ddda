"""PostgreSQL: a pool, a transaction, a reader. All SQL of a room goes through these, none of it is written here.

Connections of the pool skip asyncpg's per-release reset (`RESET ALL`, `UNLISTEN`, advisory unlocks cost up to 40 % of the
throughput), so nothing may leave session state on them: `SET LOCAL` only, no session advisory lock, no LISTEN.
Whoever needs a session opens a connection of its own with `dedicated_connection`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from tradewind.chassis.errors import Unavailable
from tradewind.chassis.request_scope import require_time

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

Record = asyncpg.Record

CONNECT_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 5.0
ACQUIRE_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 15.0
IDLE_IN_TRANSACTION_TIMEOUT_MS = 10_000
_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    # A full disk, no memory, no connection left: the statement is right and succeeds later.
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresIOError,
    asyncpg.ReadOnlySQLTransactionError,
    # What asyncpg says when the server's farewell reached an idle connection and has not been read to its end.
    asyncpg.InternalClientError,
)


def is_away(exc: BaseException) -> bool:
    """Whether `exc` says that the database cannot be reached, rather than that a statement is wrong."""
    # A value that does not fit its parameter is an InterfaceError to asyncpg, and has nothing to do with the server.
    return isinstance(exc, _AWAY) and not isinstance(exc, asyncpg.DataError)


def _unavailable(exc: BaseException) -> Unavailable:
    return Unavailable("database-unavailable", f"The database is away ({type(exc).__name__}).", retry_after_s=1)


def storable(text: str) -> str:
    """`text` as a column of type text takes it: without NUL, which PostgreSQL has no place for."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")


async def dedicated_connection(url: str, *, application_name: str) -> asyncpg.Connection:
    """A connection outside any pool, for LISTEN and session advisory locks. The caller closes it.

    Raises:
        Unavailable: `database-unavailable`.
    """
    try:
        return await asyncpg.connect(
            url,
            timeout=CONNECT_TIMEOUT_S,
            target_session_attrs=_attributes(writes="," in url),
            server_settings={"application_name": application_name},
        )
    except _AWAY as exc:
        raise _unavailable(exc) from exc


class _Translated:
    """Turns the driver's ways of saying "away" and "try again" into `Unavailable`; keeps no state."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: object) -> None:
        if exc is not None and is_away(exc):
            raise _unavailable(exc) from exc
        if isinstance(exc, (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)):
            raise Unavailable("busy", "Too many requests want the same thing right now.", retry_after_s=1) from exc


_translated = _Translated()


if TYPE_CHECKING:
    _Connection: TypeAlias = PoolConnectionProxy[Record]


class _PooledConnection(asyncpg.Connection):
    def get_reset_query(self) -> str:
        return ""


class Statements:
    """The verbs that a transaction and a pool share. Arguments are `$1`, `$2`, ...; nothing is ever formatted into SQL."""

    async def rows(self, sql: str, *args: Any) -> list[Record]:
        """All rows."""
        raise NotImplementedError

    async def row(self, sql: str, *args: Any) -> Record | None:
        """The first row, or None."""
        raise NotImplementedError

    async def value(self, sql: str, *args: Any) -> Any:
        """The first column of the first row, or None."""
        raise NotImplementedError

    async def execute(self, sql: str, *args: Any) -> str:
        """The command tag, such as `UPDATE 1`."""
        raise NotImplementedError


class Tx(Statements):
    """One open transaction. It ends with the `async with` block that made it: commit, or roll back on an exception.

    Once the deadline of the request it serves has passed, every further statement raises `deadline-exceeded` instead of
    being sent.
    """

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self._after_commit: list[Callable[[], None]] = []

    async def rows(self, sql: str, *args: Any) -> list[Record]:
        require_time()
        with _translated:
            return await self._connection.fetch(sql, *args)

    async def row(self, sql: str, *args: Any) -> Record | None:
        require_time()
        with _translated:
            return await self._connection.fetchrow(sql, *args)

    async def value(self, sql: str, *args: Any) -> Any:
        require_time()
        with _translated:
            return await self._connection.fetchval(sql, *args)

    async def execute(self, sql: str, *args: Any) -> str:
        require_time()
        with _translated:
            return await self._connection.execute(sql, *args)

    async def many(self, sql: str, argsets: Iterable[Sequence[Any]]) -> None:
        """Run one statement for every set of arguments, pipelined."""
        require_time()
        with _translated:
            await self._connection.executemany(sql, argsets)

    async def _end(self, verb: str) -> None:
        # Whatever the time: what is done is kept or undone, and the connection goes back clean.
        with _translated:
            await self._connection.execute(verb)

    @contextlib.asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undo only what happens inside when it raises; the transaction goes on. Savepoints do not nest."""
        await self.execute("SAVEPOINT inner_step")
        try:
            yield
        except BaseException:
            await self.execute("ROLLBACK TO SAVEPOINT inner_step")
            raise
        await self.execute("RELEASE SAVEPOINT inner_step")

    def after_commit(self, call: Callable[[], None]) -> None:
        """Run `call` once the transaction has committed, and never otherwise. It must not raise nor block."""
        self._after_commit.append(call)

    def _committed(self) -> None:
        for call in self._after_commit:
            call()


class Reader(Statements):
    """Single statements on a pool, each its own transaction; none is sent for a request whose deadline has passed."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def rows(self, sql: str, *args: Any) -> list[Record]:
        async with _connection(self._pool) as connection:
            with _translated:
                return await connection.fetch(sql, *args)

    async def row(self, sql: str, *args: Any) -> Record | None:
        async with _connection(self._pool) as connection:
            with _translated:
                return await connection.fetchrow(sql, *args)

    async def value(self, sql: str, *args: Any) -> Any:
        async with _connection(self._pool) as connection:
            with _translated:
                return await connection.fetchval(sql, *args)

    async def execute(self, sql: str, *args: Any) -> str:
        async with _connection(self._pool) as connection:
            with _translated:
                return await connection.execute(sql, *args)


class Database(Reader):
    """A room's own database: `transaction()` to change it, the verbs of `Reader` for single statements.

    `read` goes to the replica where one is named, and may lag behind what was just written.
    """

    def __init__(self, pool: asyncpg.Pool, read_pool: asyncpg.Pool | None = None) -> None:
        super().__init__(pool)
        self._read_pool = read_pool
        self.read = Reader(read_pool) if read_pool else Reader(pool)

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        read_url: str | None = None,
        min_size: int = 1,
        max_size: int = 4,
        application_name: str = "tradewind",
    ) -> Database:
        """Open the pools. Several hosts in `url` fail over to the one that takes writes.

        Raises:
            Unavailable: `database-unavailable`, no connection could be made.
        """
        pool = await _open_pool(url, min_size, max_size, application_name, writes="," in url)
        read_pool = None
        if read_url:
            read_pool = await _open_pool(read_url, min_size, max_size, f"{application_name} read", writes=False)
        return cls(pool, read_pool)

    @contextlib.asynccontextmanager
    async def transaction(self, begin: str = "BEGIN") -> AsyncIterator[Tx]:
        """A transaction on a connection of the pool, READ COMMITTED unless `begin` says otherwise.

        `begin` is the statement that opens it; further `SET LOCAL` statements may follow there in the same round trip.

        Raises:
            Unavailable: `database-unavailable`; whether a commit in flight took effect is then unknown.
        """
        async with _connection(self._pool) as connection:
            tx = Tx(connection)
            await tx.execute(begin)
            try:
                yield tx
            except BaseException:
                # A connection that is gone has rolled back by itself.
                with contextlib.suppress(Unavailable):
                    await tx._end("ROLLBACK")  # noqa: SLF001 - the transaction's other half
                raise
            await tx._end("COMMIT")  # noqa: SLF001 - as above
        tx._committed()  # noqa: SLF001 - as above

    async def ping(self) -> None:
        """Return if the database answers a statement; raises `Unavailable` if not."""
        await self.value("SELECT 1")

    def connections(self) -> tuple[int, int]:
        """Connections of the main pool in use, and open in all."""
        return self._pool.get_size() - self._pool.get_idle_size(), self._pool.get_size()

    async def close(self) -> None:
        """Close the pools; connections still in use are cut after 5 s."""
        for pool in (self._pool, self._read_pool):
            if pool is None:
                continue
            try:
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await pool.close()
            except TimeoutError:
                pool.terminate()


async def _open_pool(url: str, min_size: int, max_size: int, name: str, *, writes: bool) -> asyncpg.Pool:
    try:
        return await asyncpg.create_pool(
            url,
            min_size=min_size,
            max_size=max_size,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            max_inactive_connection_lifetime=60.0,
            connection_class=_PooledConnection,
            target_session_attrs=_attributes(writes=writes),
            server_settings={
                "application_name": name,
                "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_TIMEOUT_MS),
                "jit": "off",
            },
        )
    except _AWAY as exc:
        raise _unavailable(exc) from exc


def _attributes(*, writes: bool) -> SessionAttribute:
    """Of several hosts, the one that takes writes; a single host is taken as it is."""
    return SessionAttribute.read_write if writes else SessionAttribute.any


@contextlib.asynccontextmanager
async def _connection(pool: asyncpg.Pool) -> AsyncIterator[_Connection]:
    require_time()
    with _translated:
        connection = await pool.acquire(timeout=ACQUIRE_TIMEOUT_S)
    try:
        require_time()
        yield connection
    finally:
        await pool.release(connection)
