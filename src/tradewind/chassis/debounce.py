"""Many calls, few runs: for wake-ups, where one that comes a moment later serves for all before it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable


class Debounced:
    """Runs `run` soon after `call`: at once, or where it ran less than `gap_s` ago, once that has passed.

    A call is never forgotten: a run begins after it. `run` must not raise.
    """

    def __init__(self, run: Callable[[], Awaitable[None]], *, gap_s: float) -> None:
        self._run = run
        self._gap_s = gap_s
        self._wanted = False
        self._last_s = float("-inf")
        self._task: asyncio.Task[None] | None = None

    def call(self) -> None:
        """Ask for a run. Must be called on the event loop; costs nothing while one is already due."""
        self._wanted = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def close(self) -> None:
        """Stop; a run that is due does not happen any more, one that is under way is cancelled."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._wanted:
            pause_s = self._last_s + self._gap_s - loop.time()
            if pause_s > 0:
                await asyncio.sleep(pause_s)
            self._wanted = False
            self._last_s = loop.time()
            await self._run()
