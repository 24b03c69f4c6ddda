"""Pools and transactions on a real PostgreSQL: what is away, what is wrong, and what a connection must not remember."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from tradewind.chassis.errors import Unavailable
from tradewind.chassis.postgres import Database
from tradewind.chassis.request_scope import use_request
from tradewind.stack.engines import PostgresEngine
from tradewind.stack.ports import free_port


@pytest_asyncio.fixture
async def database(empty_database: Callable[[], Awaitable[str]]) -> AsyncIterator[Database]:
    opened = await Database.open(await empty_database(), max_size=2)
    await opened.execute("CREATE TABLE thing (n int)")
    yield opened
    await opened.close()


async def count(database: Database) -> int:
    return int(await database.value("SELECT count(*) FROM thing"))


async def test_a_transaction_commits_and_then_runs_its_hooks(database: Database) -> None:
    seen: list[int] = []
    async with database.transaction() as tx:
        tx.after_commit(lambda: seen.append(1))
        await tx.execute("INSERT INTO thing VALUES (1)")
        assert seen == []
    assert (seen, await count(database)) == ([1], 1)


async def test_an_exception_rolls_back_and_runs_no_hook(database: Database) -> None:
    seen: list[int] = []
    with pytest.raises(KeyError):
        async with database.transaction() as tx:
            tx.after_commit(lambda: seen.append(1))
            await tx.execute("INSERT INTO thing VALUES (1)")
            raise KeyError
    assert (seen, await count(database)) == ([], 0)


async def test_a_savepoint_undoes_only_what_is_inside(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.execute("INSERT INTO thing VALUES (1)")
        with pytest.raises(KeyError):
            async with tx.savepoint():
                await tx.execute("INSERT INTO thing VALUES (2)")
                raise KeyError
        await tx.execute("INSERT INTO thing VALUES (3)")
    assert [row["n"] for row in await database.rows("SELECT n FROM thing ORDER BY n")] == [1, 3]


async def test_a_cancelled_transaction_leaves_nothing_and_its_connection_is_clean(database: Database) -> None:
    entered = asyncio.Event()

    async def slow() -> None:
        async with database.transaction("BEGIN; SET LOCAL lock_timeout = '1s'") as tx:
            await tx.execute("INSERT INTO thing VALUES (1)")
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(slow())
    await entered.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await count(database) == 0
    # The pool skips the reset, so nothing may be left to reset: all of it was local to the transaction.
    for value in await asyncio.gather(*(database.value("SHOW lock_timeout") for _ in range(8))):
        assert value == "0"


async def test_no_statement_runs_for_a_request_whose_deadline_has_passed(database: Database) -> None:
    """A sequence does not roll back, so it shows also what was run and undone."""
    await database.execute("CREATE SEQUENCE run")
    ran = "SELECT nextval('run')"
    with use_request("late", timeout_s=30.0) as scope:
        async with database.transaction() as tx:
            await tx.execute("INSERT INTO thing VALUES (1)")
            assert await tx.value(ran) == 1
            scope.deadline_s = 0.0
            for statement in (tx.value(ran), tx.row(ran), tx.rows(ran), tx.execute(ran), tx.many(ran, [()])):
                with pytest.raises(Unavailable) as too_late:
                    await statement
                assert (too_late.value.code, too_late.value.status) == ("deadline-exceeded", 504)
        for statement in (database.value(ran), database.row(ran), database.rows(ran), database.execute(ran)):
            with pytest.raises(Unavailable, match="time is up"):
                await statement
        with pytest.raises(Unavailable, match="time is up"):
            async with database.transaction():
                pytest.fail("a transaction was begun")
    # What was done in time is kept, what raised is undone, and the connections are clean.
    assert (await database.value("SELECT last_value FROM run"), await count(database)) == (1, 1)
    with use_request("late", timeout_s=30.0) as scope, pytest.raises(Unavailable):
        async with database.transaction() as tx:
            await tx.execute("INSERT INTO thing VALUES (2)")
            scope.deadline_s = 0.0
            await tx.execute("INSERT INTO thing VALUES (3)")
    assert await asyncio.gather(*(count(database) for _ in range(4))) == [1] * 4


async def test_a_request_that_waited_too_long_for_a_connection_runs_nothing(database: Database) -> None:
    await database.execute("CREATE SEQUENCE run")
    async with database.transaction(), database.transaction():  # all the pool has
        with use_request("late", timeout_s=30.0) as scope:
            waiting = asyncio.create_task(database.value("SELECT nextval('run')"))
            await asyncio.sleep(0)
            scope.deadline_s = 0.0
    with pytest.raises(Unavailable, match="time is up"):
        await waiting
    assert await database.value("SELECT is_called FROM run") is False


async def test_a_wrong_value_is_our_fault_and_not_the_server_s(database: Database) -> None:
    with pytest.raises(asyncpg.DataError):
        await database.value("SELECT $1::int", "x")


async def test_a_deadlock_is_worth_another_try(database: Database) -> None:
    await database.execute("INSERT INTO thing VALUES (1), (2)")
    barrier = asyncio.Barrier(2)

    async def lock(first: int, second: int) -> None:
        async with database.transaction() as tx:
            await tx.execute("SELECT FROM thing WHERE n = $1 FOR UPDATE", first)
            await barrier.wait()
            await tx.execute("SELECT FROM thing WHERE n = $1 FOR UPDATE", second)

    outcomes = await asyncio.gather(lock(1, 2), lock(2, 1), return_exceptions=True)
    refused = [outcome for outcome in outcomes if outcome is not None]
    assert [getattr(outcome, "code", outcome) for outcome in refused] == ["busy"]


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(Unavailable) as away:
        await Database.open(f"postgresql://x:y@127.0.0.1:{free_port()}/z")
    assert (away.value.code, away.value.status) == ("database-unavailable", 503)


async def test_the_pool_survives_a_killed_server(tmp_path: Path) -> None:
    engine = PostgresEngine(tmp_path / "data", durable=False)
    await engine.start()
    database = await Database.open(await engine.create_database("app"))
    assert await database.value("SELECT 1") == 1
    await engine.stop()
    with pytest.raises(Unavailable):
        await database.value("SELECT 1")
    await engine.start()
    assert await database.value("SELECT 1") == 1
    await database.close()
    await engine.stop()


async def test_of_several_hosts_the_one_that_answers_is_taken(empty_database: Callable[[], Awaitable[str]]) -> None:
    url = await empty_database()
    head, _, rest = url.partition("@")
    host, slash, name = rest.partition("/")
    database = await Database.open(f"{head}@127.0.0.1:{free_port()},{host}{slash}{name}")
    assert await database.value("SELECT 1") == 1
    await database.close()
