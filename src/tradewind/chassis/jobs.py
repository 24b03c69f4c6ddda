"""The clock door: work a service does by itself, again and again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from tradewind.chassis import logs, trace
from tradewind.chassis.errors import Unavailable

P = TypeVar("P")

MAX_BACK_OFF_S = 5.0
_log = logs.get_logger("jobs")


class Job(Generic[P]):
    """`run` every `every_s` seconds, and at once when woken. Runs on every instance: it must be safe side by side.

    A failing run is logged and tried again, at first soon, then at the job's own pace; it never ends the job.
    """

    def __init__(self, name: str, every_s: float, run: Callable[[P], Awaitable[None]]) -> None:
        self.name = name
        self.every_s = every_s
        self._run = run
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Run now, or once more directly after the present run."""
        self._wake.set()

    async def loop(self, parts: P) -> None:
        """Run until cancelled."""
        failures = 0
        while True:
            self._wake.clear()
            try:
                with trace.use_traceparent(None):
                    await self._run(parts)
                failures = 0
            except Unavailable as exc:
                failures += 1
                _log.warning("job waits", job=self.name, code=exc.code, detail=exc.detail)
            except Exception as exc:
                failures += 1
                _log.error("job failed", job=self.name, exc_info=exc)
            pause_s = min(0.1 * 2**failures, MAX_BACK_OFF_S) if failures else self.every_s
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()
