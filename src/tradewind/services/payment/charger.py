"""Pursues new work at the provider, at once after the commit that recorded it, a bounded number at a time.

It holds nothing that is not in the database: what it drops, or takes with it when it is killed, falls due again there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from contextvars import Context
from typing import Any

from tradewind.chassis.clock import Clock
from tradewind.services.payment.domain.work import ChargeWork, RefundWork

LEASE_S = 10.0
"""How long work is ours before others may take it up: three steps of the provider's time-out, and a margin."""

START_WITHIN_S = 2.0
"""Work that waited longer is left to fall due again, so that it is never begun near the end of its lease."""

MAX_WAITING = 2_000
CLOSE_TIMEOUT_S = 5.0

Work = ChargeWork | RefundWork


class Charger:
    """At most `concurrency` calls of `pursue` at once, which must not raise; the rest waits in line."""

    def __init__(self, pursue: Callable[[Work], Coroutine[Any, Any, None]], *, concurrency: int, clock: Clock) -> None:
        self._pursue = pursue
        self._concurrency = concurrency
        self._clock = clock
        self._waiting: deque[tuple[Work, float]] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def under_way(self) -> int:
        """How much is being pursued now."""
        return len(self._running)

    def take(self, works: Iterable[Work]) -> None:
        """Pursue these, now or soon. For `Tx.after_commit`: it neither blocks nor raises."""
        if self._closed:
            return
        now_s = self._clock.monotonic_s()
        room = MAX_WAITING - len(self._waiting)
        self._waiting.extend((work, now_s) for work, _ in zip(works, range(room), strict=False))
        self._start()

    async def close(self) -> None:
        """Begin nothing more, and end what is under way, within 5 s; what then still runs falls due again by itself."""
        self._closed = True
        self._waiting.clear()
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=CLOSE_TIMEOUT_S)
            for task in late:
                task.cancel()

    def _start(self) -> None:
        while self._waiting and len(self._running) < self._concurrency:
            work, since_s = self._waiting.popleft()
            if self._clock.monotonic_s() - since_s > START_WITHIN_S:
                continue
            # In a context of its own: neither the deadline nor the trace of whoever committed is the work's.
            task = asyncio.get_running_loop().create_task(self._pursue(work), context=Context())
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._start()
