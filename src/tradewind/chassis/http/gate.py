"""The gate before every operation: so many at once, a short queue for the rest, and a clear no instead of a long wait.

A process that takes whatever comes works on many requests slowly, and on most of them for nobody: their callers have
given up. So past `AT_ONCE` requests wait, in the order they came, for `PATIENCE_S` at most, and past `QUEUE` they are refused
at once. A few places are for urgent operations only (those that undo or finish something: cancel, ship, a provider's
webhook), so that a flood of reading and ordering cannot keep anybody from them. Streams hold no place once they flow.
"""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType

from tradewind.chassis.errors import Unavailable
from tradewind.chassis.metrics import Metrics
from tradewind.chassis.request_scope import remaining_s

AT_ONCE = 64
RESERVED = 8
QUEUE = 448
PATIENCE_S = 1.0
RETRY_AFTER_S = 1
RETRY_ELSEWHERE = {"x-tradewind-retry": "elsewhere"}
"""Tells the proxy that the request was not begun: another instance may have it."""


class Gate:
    """Places for the requests of one process. Belongs to one event loop."""

    def __init__(
        self,
        metrics: Metrics,
        *,
        at_once: int = AT_ONCE,
        reserved: int = RESERVED,
        queue: int = QUEUE,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._at_once = at_once
        self._reserved = reserved
        self._queue = queue
        self._patience_s = patience_s
        self._inside = 0
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._waiting: deque[asyncio.Future[None]] = deque()
        shed = metrics.counter("http_requests_shed", "Requests refused before they were begun.", ("reason",))
        self._full, self._late = shed.labels("queue-full"), shed.labels("waited-too-long")

    def place(self, *, urgent: bool) -> Place:
        """A place to hold while a request is served: `async with gate.place(...)`.

        Entering raises:
            Unavailable: 503 `overloaded`; the queue is full, or the request waited as long as it may.
        """
        return Place(self, urgent)

    async def enter(self, urgent: bool) -> None:
        """Take a place, now or in turn."""
        queue = self._urgent if urgent else self._waiting
        if not queue and self._has_room(urgent):
            self._inside += 1
            return
        if len(self._urgent) + len(self._waiting) >= self._queue:
            self._full.inc()
            raise _overloaded("Too many requests wait already.")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            async with asyncio.timeout(remaining_s(self._patience_s)):
                await turn
        except BaseException as exc:
            if turn.done() and not turn.cancelled():
                self.leave()  # the place came in the same moment
            elif turn in queue:  # who left in the meantime may have passed over it
                queue.remove(turn)
            if isinstance(exc, TimeoutError):
                self._late.inc()
                raise _overloaded("It waited too long for its turn.") from exc
            raise

    def leave(self) -> None:
        """Give the place back, to the next in turn."""
        self._inside -= 1
        for queue, urgent in ((self._urgent, True), (self._waiting, False)):
            while queue and self._has_room(urgent):
                turn = queue.popleft()
                if not turn.done():
                    turn.set_result(None)
                    self._inside += 1

    def _has_room(self, urgent: bool) -> bool:
        return self._inside < (self._at_once if urgent else self._at_once - self._reserved)


class Place:
    """One request's place, for the time of an `async with`."""

    __slots__ = ("_gate", "_urgent")

    def __init__(self, gate: Gate, urgent: bool) -> None:
        self._gate = gate
        self._urgent = urgent

    async def __aenter__(self) -> None:
        await self._gate.enter(self._urgent)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gate.leave()


def _overloaded(detail: str) -> Unavailable:
    return Unavailable("overloaded", detail, headers=RETRY_ELSEWHERE, retry_after_s=RETRY_AFTER_S)
