"""A PostgreSQL session of one's own, beside the pool: for session advisory locks, LISTEN and steady small statements.

A session that says nothing for `IDLE_LIMIT_S` is ended by the server, which frees its locks. So a process that is killed
lets go at once, and one that is frozen, or cut off by the network, lets go within that time. Whoever holds locks must
use the session more often than that, and must look at `epoch`: once it has changed, the locks are gone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import asyncpg

from tradewind.chassis.errors import Unavailable
from tradewind.chassis.postgres import Record, Statements, dedicated_connection, is_away

IDLE_LIMIT_S = 10
STATEMENT_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 2.0


class Session(Statements):
    """Statements one after the other on one connection. Tasks may share it; each waits for its turn.

    A statement that fails for want of a server, takes longer than `STATEMENT_TIMEOUT_S` or is cancelled ends the session.

    `listen` maps channels to what to call with a notification's payload; the call must neither block nor raise.
    `settings` are server settings for the length of the session; one that holds no locks and sleeps for long sets
    `idle_session_timeout` to 0. `away` is the code of the `Unavailable` that everything here raises for want of a server.
    """

    def __init__(
        self,
        url: str,
        *,
        application_name: str,
        listen: Mapping[str, Callable[[str], None]] | None = None,
        settings: Mapping[str, str] | None = None,
        away: str = "database-unavailable",
    ) -> None:
        self._url = url
        self._name = application_name
        self._listen = dict(listen or {})
        self._settings = {"idle_session_timeout": f"{IDLE_LIMIT_S}s", "jit": "off", **(settings or {})}
        self._away_code = away
        self._connection: asyncpg.Connection | None = None
        self._turn = asyncio.Lock()
        self.epoch = 0

    @property
    def is_open(self) -> bool:
        """Whether the connection lives, as far as we have heard."""
        return self._connection is not None and not self._connection.is_closed()

    async def open(self) -> int:
        """Make sure there is a connection; returns the epoch, which grows with every new one.

        Raises:
            Unavailable: no connection could be made.
        """
        async with self._turn:
            if not self.is_open:
                await self._connect()
            return self.epoch

    async def rows(self, sql: str, *args: Any) -> list[Record]:
        return await self._run("fetch", sql, args)  # type: ignore[no-any-return]

    async def row(self, sql: str, *args: Any) -> Record | None:
        return await self._run("fetchrow", sql, args)  # type: ignore[no-any-return]

    async def value(self, sql: str, *args: Any) -> Any:
        return await self._run("fetchval", sql, args)

    async def execute(self, sql: str, *args: Any) -> str:
        return await self._run("execute", sql, args)  # type: ignore[no-any-return]

    async def close(self) -> None:
        """End the session; its locks are free when this returns. Never raises."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with contextlib.suppress(Exception):
            await connection.close(timeout=CLOSE_TIMEOUT_S)

    async def _connect(self) -> None:
        try:
            connection = await dedicated_connection(self._url, application_name=self._name)
        except Unavailable as exc:
            raise self._away(exc.detail) from exc
        try:
            async with asyncio.timeout(STATEMENT_TIMEOUT_S):
                for name, value in self._settings.items():
                    await connection.execute("SELECT set_config($1, $2, false)", name, value)
                for channel in self._listen:
                    await connection.add_listener(channel, self._heard)
        except BaseException as exc:
            connection.terminate()
            if is_away(exc):
                raise self._away(type(exc).__name__) from exc
            raise
        self._connection = connection
        self.epoch += 1

    def _heard(self, _connection: object, _pid: int, channel: str, payload: object) -> None:
        self._listen[channel](str(payload))

    async def _run(self, verb: str, sql: str, args: tuple[Any, ...]) -> Any:
        async with self._turn:
            connection = self._connection
            if connection is None or connection.is_closed():
                raise self._away("the session has ended")
            try:
                async with asyncio.timeout(STATEMENT_TIMEOUT_S):
                    return await getattr(connection, verb)(sql, *args)
            except BaseException as exc:
                cancelled = isinstance(exc, asyncio.CancelledError)
                if not cancelled and (isinstance(exc, asyncpg.DataError) or not is_away(exc)):
                    raise
                # Not to be trusted any more: half an answer may still be on its way.
                connection.terminate()
                self._connection = None
                if cancelled:
                    raise
                raise self._away(type(exc).__name__) from exc

    def _away(self, why: str) -> Unavailable:
        return Unavailable(self._away_code, why, retry_after_s=1)
