"""The live settings of one machine: a file that all its processes watch and that is replaced as a whole.

Needs no process of its own, and outlives `kill -9` of every one: the file holds the document before a write or the one
after it. Writers take turns by a lock that the kernel releases when its holder dies.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from tradewind.chassis.live_document import Document, Outrun, StoreAway
from tradewind.mesh.state_file import StateFile

LOOK_EVERY_S = 0.1
LOCK_WITHIN_S = 5.0
_RETRY_S = 0.01


class LocalStore:
    """The file at `path`; `path`.lock beside it orders the writers."""

    def __init__(self, path: str) -> None:
        self._file = StateFile(Path(path))
        self._lock = Path(f"{path}.lock")

    async def read(self) -> Document:
        """As `LiveStore.read`."""
        try:
            content = self._file.read()
            return Document() if content is None else msgspec.json.decode(content, type=Document)
        except OSError as exc:
            raise StoreAway(f"{self._file.path} cannot be read: {exc.strerror or exc}") from exc
        except msgspec.MsgspecError as exc:
            raise StoreAway(f"{self._file.path} is no document of live settings: {exc}") from exc

    async def write(self, document: Document) -> None:
        """As `LiveStore.write`."""
        try:
            async with self._turn():
                latest = await self.read()
                if document.version != latest.version + 1:
                    raise Outrun(latest)
                self._file.write(msgspec.json.format(msgspec.json.encode(document), indent=1))
        except OSError as exc:
            raise StoreAway(f"{self._file.path} cannot be written: {exc.strerror or exc}") from exc

    async def wait(self, seen: int, timeout_s: float) -> Document:
        """As `LiveStore.wait`. Looks at the file's identity ten times a second, and reads it only when that is new."""
        give_up_s = time.monotonic() + timeout_s
        looked_at: tuple[int, int, int] | None = None
        while True:
            identity = self._identity()
            if identity != looked_at or looked_at is None:
                looked_at = identity
                document = await self.read()
                if document.version != seen:
                    return document
            if time.monotonic() >= give_up_s:
                return await self.read()
            await asyncio.sleep(LOOK_EVERY_S)

    async def close(self) -> None:
        """As `LiveStore.close`: there is nothing to let go of."""

    def _identity(self) -> tuple[int, int, int]:
        try:
            found = self._file.path.stat()
        except FileNotFoundError:
            return (0, 0, 0)
        except OSError as exc:
            raise StoreAway(f"{self._file.path} cannot be read: {exc.strerror or exc}") from exc
        return (found.st_ino, found.st_mtime_ns, found.st_size)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        self._lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            give_up_s = time.monotonic() + LOCK_WITHIN_S
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > give_up_s:
                        raise StoreAway(f"{self._lock} is held by another writer for {LOCK_WITHIN_S:g} s") from None
                await asyncio.sleep(_RETRY_S)
            yield
        finally:
            os.close(descriptor)
