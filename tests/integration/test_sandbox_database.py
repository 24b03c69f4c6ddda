"""The sandbox's file: one commit for many jobs, a failed job takes only itself back, and nothing is acknowledged early."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tradewind.chassis.errors import Unavailable
from tradewind.sandbox.database import WAITING_MAX, Database, StateError

SCHEMA = "CREATE TABLE note (text TEXT NOT NULL UNIQUE);"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path, SCHEMA, 1)
    yield database
    if database.healthy:
        await database.close()


def insert(text: str) -> Callable[[sqlite3.Connection], int]:
    return lambda db: db.execute("INSERT INTO note VALUES (?)", (text,)).rowcount


def notes(db: sqlite3.Connection) -> list[str]:
    return [row[0] for row in db.execute("SELECT text FROM note ORDER BY rowid")]


async def test_a_failed_job_takes_only_itself_back(database: Database) -> None:
    def half(db: sqlite3.Connection) -> None:
        insert("half")(db)
        raise ValueError("changed my mind")

    results = await asyncio.gather(
        database.write(insert("a")),
        database.write(half),
        database.write(insert("a")),
        database.write(insert("b")),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [int, ValueError, sqlite3.IntegrityError, int]
    assert await database.read(notes) == ["a", "b"]


async def test_a_job_sees_the_jobs_before_it(database: Database) -> None:
    def insert_and_look(db: sqlite3.Connection) -> int:
        insert(str(len(notes(db))))(db)
        return len(notes(db))

    assert await asyncio.gather(*(database.write(insert_and_look) for _ in range(5))) == [1, 2, 3, 4, 5]


async def test_many_jobs_share_a_commit(database: Database) -> None:
    commits = 0

    def count(db: sqlite3.Connection) -> None:
        def trace(statement: str) -> None:
            nonlocal commits
            commits += statement == "COMMIT"

        db.set_trace_callback(trace)

    await database.write(count)
    await asyncio.gather(*(database.write(insert(str(n))) for n in range(500)))
    assert commits < 50
    assert len(await database.read(notes)) == 500


async def test_a_commit_that_fails_fails_all_its_jobs_and_the_next_works(database: Database) -> None:
    await database.write(
        lambda db: db.execute("CREATE TABLE child (id REFERENCES note (text) DEFERRABLE INITIALLY DEFERRED)")
    )
    # A deferred constraint fails at COMMIT, the way a full disk does.
    orphan = database.write(lambda db: db.execute("INSERT INTO child VALUES ('nobody')"))
    results = await asyncio.gather(orphan, database.write(insert("a")), return_exceptions=True)
    assert isinstance(results[0], sqlite3.IntegrityError)
    stored = await database.read(notes)
    assert stored == ([] if isinstance(results[1], sqlite3.Error) else ["a"])
    await database.write(insert("b"))
    assert "b" in await database.read(notes)
    assert database.healthy


async def test_the_queue_is_bounded(database: Database) -> None:
    busy, release = threading.Event(), threading.Event()

    def hold(_: sqlite3.Connection) -> None:
        busy.set()
        release.wait(10)

    held = asyncio.create_task(database.write(hold))
    assert await asyncio.to_thread(busy.wait, 10)
    waiting = [asyncio.create_task(database.write(lambda _: None)) for _ in range(WAITING_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="overloaded"):
        await database.write(lambda _: None)
    release.set()
    await asyncio.gather(held, *waiting)


async def test_readers_cannot_write(database: Database) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await database.read(insert("a"))


async def test_close_finishes_what_waits(tmp_path: Path) -> None:
    database = Database(tmp_path, SCHEMA, 1)
    waiting = [asyncio.create_task(database.write(insert(str(n)))) for n in range(100)]
    await asyncio.sleep(0)
    await database.close()
    await asyncio.gather(*waiting)
    again = Database(tmp_path, SCHEMA, 1)
    assert len(await again.read(notes)) == 100
    await again.close()


async def test_a_folder_that_cannot_be_used_is_refused(database: Database, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="another sandbox"):
        Database(tmp_path, SCHEMA, 1)
    await database.close()
    with pytest.raises(StateError, match="schema version 1"):
        Database(tmp_path, SCHEMA, 2)
