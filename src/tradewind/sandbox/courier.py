"""Carries the webhooks: what is due goes out, some at a time; what fails comes back later, a bounded number of times.

Delivery is at least once: a webhook leaves the queue after its 2xx, so a crash between the two sends it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable

from tradewind.chassis.clock import Clock
from tradewind.chassis.logs import get_logger
from tradewind.sandbox import store
from tradewind.sandbox.conditions import Conditions
from tradewind.sandbox.database import Database
from tradewind.sandbox.store import Delivery

BATCH_MAX = 64
# A wake-up waits this long for its neighbours: at load one round serves many charges.
GATHER_S = 0.05
IDLE_S = 5.0
PAUSE_AFTER_ERROR_S = 1.0
BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 30.0
ATTEMPTS_MAX = 100

Post = Callable[[bytes, int], Awaitable[bool]]
log = get_logger(__name__)


class Courier:
    """The loop between the queue and `post`, which sends one body, signed so long ago, and says whether it was taken."""

    def __init__(self, database: Database, post: Post, conditions: Conditions, clock: Clock) -> None:
        self._database = database
        self._post = post
        self._conditions = conditions
        self._clock = clock
        self._awake = asyncio.Event()
        self._expected: dict[str, asyncio.Event] = {}

    def expect(self, event_id: str) -> None:
        """Somebody will ask for the first try of this one; called before it is queued, from any thread."""
        self._expected[event_id] = asyncio.Event()

    async def tried(self, event_id: str, timeout_s: float) -> None:
        """Return when an expected webhook was tried for the first time, or after `timeout_s`."""
        if (tried := self._expected.get(event_id)) is not None:
            self.wake()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(tried.wait(), timeout_s)
            self._expected.pop(event_id, None)

    def wake(self) -> None:
        """Something may be due."""
        self._awake.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            try:
                outage_left_s = self._conditions.outage_left_s
                if outage_left_s:
                    self._awake.clear()
                    await self._wait(outage_left_s)
                elif not await self.deliver_due():
                    await self._rest()
            except sqlite3.Error as exc:
                log.error("webhook queue failed", error=str(exc))
                await asyncio.sleep(PAUSE_AFTER_ERROR_S)

    async def deliver_due(self) -> int:
        """Try everything that is due now, at most BATCH_MAX; returns how many were tried."""
        now_ms = store.unix_ms(self._clock.now())
        due = await self._database.read(lambda db: store.list_due_deliveries(db, now_ms, BATCH_MAX))
        if due:
            taken = await asyncio.gather(*(self._post(delivery.body, delivery.signed_ago_s) for delivery in due))
            now_ms = store.unix_ms(self._clock.now())
            await self._database.write(lambda db: _settle(db, due, taken, now_ms))
            for delivery in due:
                if (tried := self._expected.pop(delivery.event_id, None)) is not None:
                    tried.set()
        return len(due)

    async def _rest(self) -> None:
        """Sleep until the next one is due or something wakes us."""
        self._awake.clear()
        next_ms = await self._database.read(store.find_next_due_ms)
        due_in_s = IDLE_S if next_ms is None else (next_ms - store.unix_ms(self._clock.now())) / 1000
        await self._wait(due_in_s)

    async def _wait(self, seconds: float) -> None:
        """Sleep for at most `seconds` and IDLE_S; a wake-up ends it, once its neighbours had time to arrive."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._awake.wait(), min(max(seconds, 0.0), IDLE_S))
            await asyncio.sleep(GATHER_S)


def backoff_s(attempts: int) -> float:
    """Seconds until the next attempt after `attempts` failed ones: 0.5, 1, 2, ... 30."""
    return min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(attempts - 1, 16))


def _settle(db: sqlite3.Connection, due: list[Delivery], taken: list[bool], now_ms: int) -> None:
    """Forget what was taken, put off what was not, give up what failed for the last time."""
    store.delete_deliveries(db, [delivery.seq for delivery, ok in zip(due, taken, strict=True) if ok])
    for delivery, ok in zip(due, taken, strict=True):
        failed = delivery.attempts + 1
        if ok:
            continue
        if failed >= ATTEMPTS_MAX:
            log.warning("webhook given up", event_id=delivery.event_id, attempts=failed)
            store.abandon_delivery(db, delivery.seq)
        else:
            store.postpone_delivery(db, delivery.seq, now_ms + int(backoff_s(failed) * 1000))
