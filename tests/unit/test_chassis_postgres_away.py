"""Which of the driver's complaints mean that the database is away, and which that we are wrong."""

from __future__ import annotations

import asyncpg
import pytest

from tradewind.chassis.postgres import is_away


@pytest.mark.parametrize(
    "complaint",
    [
        ConnectionResetError(),
        TimeoutError(),
        asyncpg.CannotConnectNowError("the database system is starting up"),
        asyncpg.CrashShutdownError("terminating connection because of crash of another server process"),
        asyncpg.DiskFullError("could not extend file: No space left on device"),
        asyncpg.TooManyConnectionsError("sorry, too many clients already"),
        asyncpg.PostgresIOError("could not read block 3"),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress"),
    ],
)
def test_a_server_that_has_gone_is_away(complaint: Exception) -> None:
    assert is_away(complaint)


@pytest.mark.parametrize(
    "complaint",
    [
        asyncpg.DataError("invalid input for query argument $1"),
        asyncpg.UniqueViolationError("duplicate key value"),
        asyncpg.LockNotAvailableError("canceling statement due to lock timeout"),
        ValueError("no"),
    ],
)
def test_a_wrong_statement_is_not_an_absent_server(complaint: Exception) -> None:
    assert not is_away(complaint)
