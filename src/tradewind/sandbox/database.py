"""One SQLite file, one thread that writes it, one that reads it.

SQLite takes one writer at a time and a commit costs an fsync, so writes are jobs for one thread, which commits all
that wait at once: two hundred charges in flight share one fsync. Each job runs in a savepoint of its own, so one that
fails takes nothing but itself back, and a job sees what those before it in the batch wrote. `write` returns after the
commit, never before.
"""

from __future__ import annotations

import asyncio
import fcntl
import sqlite3
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from types import MappingProxyType
from typing import Any, TypeVar

from tradewind.chassis.errors import Unavailable
from tradewind.chassis.logs import get_logger

BATCH_MAX = 256
WAITING_MAX = 2048
BUSY_TIMEOUT_MS = 5_000
CACHE_KIB = 512
WAL_LIMIT_BYTES = 16 * 1024 * 1024

log = get_logger(__name__)
T = TypeVar("T")
Job = Callable[[sqlite3.Connection], T]


class StateError(Exception):
    """The state folder cannot be used; the message says why."""


class _Write:
    """A job, where its result goes, and what it came to."""

    __slots__ = ("failure", "future", "job", "result")

    def __init__(self, job: Job[Any], future: asyncio.Future[Any]) -> None:
        self.job = job
        self.future = future
        self.result: Any = None
        self.failure: BaseException | None = None


class Database:
    """The open file. Make it inside a running event loop; `close` it when nothing more will be written."""

    def __init__(
        self, folder: Path, schema: str, schema_version: int, upgrades: Mapping[int, str] = MappingProxyType({})
    ) -> None:
        """Open or create the file in `folder`; `upgrades` has the SQL that brings an older version to the next.

        Raises:
            StateError: the folder cannot be written, another process uses it, or the file is of another version.
        """
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Write | None] = SimpleQueue()
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = (folder / "lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateError(f"{folder}: another sandbox uses this folder") from None
        except OSError as exc:
            raise StateError(f"{folder}: {exc.strerror or exc}") from exc
        path = folder / "psp.sqlite3"
        try:
            self._writer = _connect(path)
            _prepare(self._writer, schema, schema_version, upgrades)
            self._reader = _connect(path)
            self._reader.execute("PRAGMA query_only = ON")
        except sqlite3.Error as exc:
            raise StateError(f"{path}: {exc}") from exc
        self._reading = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sandbox-read")
        # A daemon, so that a crash of the main thread ends the process; `close` joins it.
        self._writing = threading.Thread(target=self._write_forever, name="sandbox-write", daemon=True)
        self._writing.start()

    @property
    def healthy(self) -> bool:
        """Whether the writer still works."""
        return self._writing.is_alive()

    async def write(self, job: Job[T]) -> T:
        """Run `job` on the writer's connection and return its result once it is on disk.

        Raises:
            Unavailable: `overloaded`, more than WAITING_MAX jobs wait.
            Exception: what the job raised, its own changes taken back; sqlite3.Error when the commit failed.
        """
        if self._queue.qsize() >= WAITING_MAX:
            raise Unavailable("overloaded", "Too many changes wait.", retry_after_s=1)
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Write(job, future))
        return await future

    async def read(self, job: Job[T]) -> T:
        """Run `job` on the reader's connection: it sees everything committed, and cannot write."""
        return await self._loop.run_in_executor(self._reading, job, self._reader)

    async def close(self) -> None:
        """Finish the writes that wait, then close."""
        self._queue.put(None)
        await asyncio.to_thread(self._writing.join)
        self._reading.shutdown()
        self._reader.close()
        self._writer.close()
        self._lock.close()

    def _write_forever(self) -> None:
        while True:
            batch, stopping = self._next_batch()
            if batch:
                _commit(self._writer, batch)
                self._loop.call_soon_threadsafe(_settle, batch)
            if stopping:
                return

    def _next_batch(self) -> tuple[list[_Write], bool]:
        """All jobs that wait, at most BATCH_MAX, and whether the database is to be closed after them."""
        batch: list[_Write] = []
        item = self._queue.get()
        try:
            while item is not None:
                batch.append(item)
                if len(batch) == BATCH_MAX:
                    return batch, False
                item = self._queue.get_nowait()
        except Empty:
            return batch, False
        return batch, True


def _commit(connection: sqlite3.Connection, batch: list[_Write]) -> None:
    """Run a batch in one transaction; afterwards each item holds its result or its failure."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        for item in batch:
            _run(connection, item)
        connection.execute("COMMIT")
    except sqlite3.Error as exc:
        log.error("commit failed", jobs=len(batch), error=str(exc))
        for item in batch:
            item.failure = exc
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _run(connection: sqlite3.Connection, item: _Write) -> None:
    connection.execute("SAVEPOINT job")
    try:
        item.result = item.job(connection)
    except Exception as exc:
        item.failure = exc
        connection.execute("ROLLBACK TO job")
    connection.execute("RELEASE job")


def _settle(batch: list[_Write]) -> None:
    for item in batch:
        if item.future.done():  # its request was cancelled meanwhile
            continue
        if item.failure is not None:
            item.future.set_exception(item.failure)
        else:
            item.future.set_result(item.result)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for pragma in (
        f"busy_timeout = {BUSY_TIMEOUT_MS}",
        "journal_mode = WAL",
        "synchronous = FULL",  # in WAL mode NORMAL would lose the last commits to a power cut
        f"cache_size = -{CACHE_KIB}",
        f"journal_size_limit = {WAL_LIMIT_BYTES}",
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _prepare(connection: sqlite3.Connection, schema: str, version: int, upgrades: Mapping[int, str]) -> None:
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if found == 0:
        connection.executescript(f"BEGIN IMMEDIATE; {schema} PRAGMA user_version = {version}; COMMIT;")
        return
    while found in upgrades:
        connection.executescript(f"BEGIN IMMEDIATE; {upgrades[found]} PRAGMA user_version = {found + 1}; COMMIT;")
        found += 1
    if found != version:
        raise sqlite3.DatabaseError(f"schema version {found}, this sandbox needs {version}: use a new folder")
