"""Passwords, hashed with Argon2id in a few threads of their own.

19 MiB, two passes, one lane: https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
One hash takes a core for about 28 ms outside the interpreter lock. The threads are few and their queue is short, so a
login storm costs its callers a 503 and nobody else anything.
"""

from __future__ import annotations

import asyncio
import secrets
import unicodedata
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from tradewind.chassis.errors import Unavailable

MEMORY_KIB = 19 * 1024
PASSES = 2
LANES = 1

T = TypeVar("T")


class Passwords:
    """Hashes and verifies, at most `max_waiting` at a time beside those in work."""

    def __init__(
        self, *, threads: int = 1, max_waiting: int = 64, memory_kib: int = MEMORY_KIB, passes: int = PASSES
    ) -> None:
        self._hasher = PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=LANES)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="passwords")
        self._limit = threads + max_waiting
        self._inside = 0
        self._decoy = self._hasher.hash(secrets.token_urlsafe())

    async def hash(self, password: str) -> str:
        """The encoded hash, with its salt and parameters in it.

        Raises:
            Unavailable: `overloaded`.
        """
        text = _prepared(password)
        return await self._run(lambda: self._hasher.hash(text))

    async def verify(self, password: str, hash_: str | None) -> bool:
        """Whether `password` made `hash_`. None stands for an unknown user: the same work, and False.

        Raises:
            Unavailable: `overloaded`.
        """
        text = _prepared(password)
        matches = await self._run(lambda: self._matches(text, hash_ or self._decoy))
        return matches and hash_ is not None

    def is_dated(self, hash_: str) -> bool:
        """Whether `hash_` was made with other parameters than today's, and should be made anew at the next login."""
        return self._hasher.check_needs_rehash(hash_)

    def close(self) -> None:
        """Drop what waits; what is being hashed ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._inside >= self._limit:
            raise Unavailable("overloaded", "Too many people are signing in right now.", retry_after_s=1)
        self._inside += 1
        loop = asyncio.get_running_loop()
        future = self._pool.submit(work)
        # Counted until the thread is done with it, not until the caller gives up: a hash in work cannot be stopped.
        future.add_done_callback(lambda done: self._leave(loop, done))
        return await asyncio.wrap_future(future)

    def _leave(self, loop: asyncio.AbstractEventLoop, _done: Future[T]) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._left)

    def _left(self) -> None:
        self._inside -= 1

    def _matches(self, text: str, hash_: str) -> bool:
        try:
            return self._hasher.verify(hash_, text)
        except VerifyMismatchError:
            return False


def _prepared(password: str) -> str:
    """One spelling for what looks the same on two keyboards (NFC, as RFC 8265 section 4.2 says)."""
    return unicodedata.normalize("NFC", password)
