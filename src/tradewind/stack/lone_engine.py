"""An engine that starts by itself, without a stack: what tests, benchmarks and fault runs use."""

from __future__ import annotations

import asyncio
import signal
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from tradewind.stack.errors import StackError
from tradewind.stack.process import Child, spawn

LAST_WORDS = 5
"""Lines of the log that a failed start quotes."""
_POLL_S = 0.02


class LoneEngine(ABC):
    """One process and its log. An async context manager: started on entry, stopped on exit."""

    START_TIMEOUT_S: ClassVar[float] = 60.0
    STOP_GRACE_S: ClassVar[float] = 10.0

    def __init__(self, log: Path) -> None:
        self.log = log
        """What the engine says."""
        self._child: Child | None = None

    @property
    def pid(self) -> int | None:
        """Its process id, None while it does not run."""
        return self._child.pid if self._child and self._child.returncode is None else None

    @abstractmethod
    async def start(self) -> None:
        """Start, and return once it answers. Raises StackError: nothing to start, or its last words."""

    async def stop(self) -> None:
        """Stop in order."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """`kill -9`, and wait until it is gone. `start` brings it back on the same ports with the same data."""
        await self._end(signal.SIGKILL)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _run(
        self,
        name: str,
        argv: Sequence[str],
        answers: Callable[[], Awaitable[bool]],
        *,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """Start `argv`, and return once `answers`; `name` is for people. One that does not is killed."""
        self._child = spawn(argv, log=self.log, env=environ)
        try:
            async with asyncio.timeout(self.START_TIMEOUT_S):
                while not await answers():
                    if self._child.returncode is not None:
                        raise StackError(f"{name} did not start: {self._last_words()}")
                    await asyncio.sleep(_POLL_S)
        except BaseException:
            await self.kill()
            raise

    def _last_words(self) -> str:
        return " | ".join(self.log.read_text(errors="replace").strip().splitlines()[-LAST_WORDS:])

    async def _end(self, signum: int) -> None:
        if self._child is not None:
            await self._child.stop(signum, grace_s=self.STOP_GRACE_S)
            self._child = None
