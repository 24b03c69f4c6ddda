"""Group commit: what becomes ready at about the same time is written in one transaction.

While one transaction runs, what comes meanwhile gathers for the next. So nothing waits when little happens, and the more
happens, the more shares a commit.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

from tradewind.chassis.errors import Unavailable

T = TypeVar("T")

LINGER_S = 0.01
MOST = 200


class GroupCommit(Generic[T]):
    """Hands items to `commit`, several at a time, in the order they came.

    Where `more_is_coming` says so, a batch waits `linger_s` for its neighbours before it starts; else it starts at once.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[T]], Awaitable[None]],
        *,
        more_is_coming: Callable[[], bool] = lambda: False,
        linger_s: float = LINGER_S,
        most: int = MOST,
    ) -> None:
        """`most` bounds the items of one transaction."""
        self._commit = commit
        self._more_is_coming = more_is_coming
        self._linger_s = linger_s
        self._most = most
        self._waiting: deque[tuple[T, asyncio.Future[None]]] = deque()
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Items that are not yet in a transaction."""
        return len(self._waiting)

    async def submit(self, item: T) -> None:
        """Return once `item` is committed; raises what `commit` raised for it. Cancelling the wait does not take it back."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._waiting.append((item, done))
        if self._task is None or self._task.done():
            # In a context of its own: the work of many belongs to no single request, nor to its deadline.
            self._task = loop.create_task(self._work(), context=Context())
        await done

    async def _work(self) -> None:
        while self._waiting:
            if len(self._waiting) < self._most and self._more_is_coming():
                await asyncio.sleep(self._linger_s)
            batch = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
            await self._settle(batch)

    async def _settle(self, batch: Sequence[tuple[T, asyncio.Future[None]]]) -> None:
        try:
            await self._commit([item for item, _ in batch])
        except Exception as exc:
            if len(batch) == 1 or isinstance(exc, Unavailable):
                for _, done in batch:
                    _tell(done, exc)
                return
            # One of them is at fault: alone, the others succeed.
            for entry in batch:
                await self._settle([entry])
        else:
            for _, done in batch:
                _tell(done, None)


def _tell(done: asyncio.Future[None], error: Exception | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
