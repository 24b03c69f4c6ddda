"""The loop: fetch a batch, one transaction for all of it, commit the positions.

When a batch fails it is halved until the message that fails is found alone; the rest goes on. That one is tried again on
its own, a bounded number of times, while its key waits, and then becomes a dead letter; what comes after it on its key is
held behind it until an operator has decided. A database or a bus that is away is no message's fault: the loop waits for
it, for as long as it takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from tradewind.chassis import attempts, logs
from tradewind.chassis.clock import Clock, SystemClock
from tradewind.chassis.consumer import graveyard, telling
from tradewind.chassis.consumer.handlers import Handlers
from tradewind.chassis.consumer.measures import Measures
from tradewind.chassis.consumer.parking import Parked, Parking
from tradewind.chassis.consumer.progress import Progress
from tradewind.chassis.consumer.verdict import RetryPolicy, Verdict, judge
from tradewind.chassis.deadletters import DeadLetters
from tradewind.chassis.errors import Unavailable
from tradewind.chassis.events import Known, Received
from tradewind.chassis.inbox import Inbox
from tradewind.chassis.metrics import Metrics
from tradewind.chassis.pace import Pace
from tradewind.chassis.postgres import Database
from tradewind.chassis.tidying import keep_tidy
from tradewind.chassis.transport import Batch, Delivered, Subscription, Transport

P = TypeVar("P")

BATCH = 500
FETCH_TIMEOUT_S = 0.5
APPLY_TIMEOUT_S = 30.0
LINGER_S = 0.004
# Positions only save work: what was not committed comes again, and the inbox knows it.
COMMIT_EVERY_S = 0.25
LOOK_EVERY_S = 1.0
REPLAY_S = 0.2
"""How long letters are handled again before other keys have their turn: thousands may wait behind one."""

MEASURE_EVERY_S = 5.0
FIRST_BACK_OFF_S = 0.05
MAX_BACK_OFF_S = 2.0
_log = logs.get_logger("consumer")


class Consumer(Generic[P]):
    """Feeds `handlers` as a member of `group`; the effects and the inbox are in `database`. `run` it once.

    `batch` bounds the messages of one transaction. While more keep coming, there is one in `linger_s`.
    """

    def __init__(
        self,
        group: str,
        database: Database,
        transport: Transport,
        handlers: Handlers[P],
        parts: P,
        *,
        metrics: Metrics | None = None,
        clock: Clock | None = None,
        batch: int = BATCH,
        linger_s: float = LINGER_S,
        retries: RetryPolicy | None = None,
        paused: Callable[[], bool] = lambda: False,
    ) -> None:
        """While `paused()`, nothing is fetched, and events stay on the bus."""
        self._paused = paused
        self._group = group
        self._database = database
        self._transport = transport
        self._handlers = handlers
        self._parts = parts
        self._catalogue = handlers.catalogue()
        self._clock = clock or SystemClock()
        self._batch = batch
        self._pace = Pace(linger_s)
        self._inbox = Inbox(group)
        self._retries = retries or RetryPolicy()
        self._parking = Parking(self._retries)
        self._letters = DeadLetters(database)
        self._progress = Progress()
        self._measures = Measures(metrics or Metrics(), group, handlers.topics, self._parking)
        # What was fetched and is not handled yet: first things first, each chunk one transaction.
        self._chunks: deque[list[Delivered]] = deque()
        self._subscription: Subscription | None = None
        self._due_s: dict[str, float] = {}
        self._replaying = False

    async def run(self) -> None:
        """Consume until cancelled; then the partitions are handed over at once. No failure of anything ends it."""
        failures = 0
        tidying = asyncio.create_task(keep_tidy(self._database, self._transport), name=f"tidy {self._group}")
        try:
            while True:
                if self._paused():
                    await asyncio.sleep(FETCH_TIMEOUT_S)
                    continue
                try:
                    await self._round()
                    failures = 0
                except Exception as exc:
                    failures += 1
                    _say(exc, self._group, failures)
                    await asyncio.sleep(min(FIRST_BACK_OFF_S * 2 ** min(failures - 1, 10), MAX_BACK_OFF_S))
        finally:
            tidying.cancel()
            if self._subscription is not None:
                with contextlib.suppress(Exception):
                    await self._commit(self._subscription)
                await self._subscription.close()

    async def _round(self) -> None:
        if self._subscription is None:
            self._subscription = await self._transport.subscribe(self._group, self._handlers.topics)
        if not self._chunks:
            # Only now: what is still to be handled may belong behind a parked key.
            await self._retry_parked()
        if not self._chunks:
            self._admit(await self._fetch(self._subscription))
        await self._work_off()
        if self._is_due("commit", COMMIT_EVERY_S):
            await self._commit(self._subscription)
        if self._is_due("replay", LOOK_EVERY_S) or self._replaying:
            self._replaying = await self._replay()
        if self._is_due("measure", MEASURE_EVERY_S):
            self._measures.lag = await self._subscription.lag()
            self._measures.dead_letters(await self._letters.standing())

    async def _fetch(self, subscription: Subscription) -> Batch:
        timeout_s = COMMIT_EVERY_S if self._progress.moved() else FETCH_TIMEOUT_S
        if self._replaying:
            timeout_s = 0.0
        due_s = self._parking.next_due_s()
        if due_s is not None:
            timeout_s = max(0.0, min(timeout_s, due_s - time.monotonic()))
        await self._pace.wait()
        batch = await subscription.fetch(self._batch, timeout_s, self._parking.crowded())
        # A full one means a backlog, and that is worked off without a pause.
        if 0 < len(batch.messages) < self._batch:
            self._pace.mark()
        return batch

    def _admit(self, batch: Batch) -> None:
        if batch.lost:
            _log.info("partitions lost", group=self._group, places=sorted(batch.lost))
            self._parking.forget(batch.lost)
            self._progress.forget(batch.lost)
        ours: list[Delivered] = []
        for message in batch.messages:
            if self._catalogue.know(message.type) is Known.FOREIGN:
                self._progress.skip(message)
                self._measures.foreign(message.topic)
            else:
                self._progress.begin(message)
                ours.append(message)
        if ours:
            self._chunks.append(ours)

    async def _work_off(self) -> None:
        """Handle all chunks. Raises Unavailable with what is left still in place."""
        while self._chunks:
            chunk = self._chunks[0] = [message for message in self._chunks[0] if not self._parking.queue(message)]
            if not chunk:
                self._chunks.popleft()
                continue
            error = await self._attempt(chunk)
            self._chunks.popleft()
            if error is None:
                self._progress.done(chunk)
            elif len(chunk) == 1:
                await self._fail(chunk[0], error)
            else:
                half = len(chunk) // 2
                self._chunks.extendleft((chunk[half:], chunk[:half]))

    async def _retry_parked(self) -> None:
        for parked in self._parking.due(time.monotonic()):
            if parked.hopeless:
                await self._bury(parked)
            else:
                error = await self._attempt([parked.head])
                if error is not None:
                    await self._fail(parked.head, error)
                    continue
                await attempts.forget(self._database, self._group, parked.head)
            self._progress.done([parked.head])
            rest = self._parking.settle(parked)
            if rest:
                self._chunks.append(rest)

    async def _attempt(self, messages: list[Delivered]) -> Exception | None:
        """Apply `messages` in one transaction; returns why that failed, if it did.

        Raises:
            Unavailable: because the database is away, which says nothing about the messages.
        """
        started_s = time.perf_counter()
        try:
            async with asyncio.timeout(APPLY_TIMEOUT_S):
                events = await self._apply(messages)
        except Exception as exc:
            if isinstance(exc, Unavailable) and exc.code == "database-unavailable":
                # A message can break its own connection as well. If the database is there, it was not the database.
                await self._database.value("SELECT 1")
            return exc
        self._measures.handled(Counter(event.type for event in events), len(messages))
        if events:
            self._measures.age(self._clock.now(), min(event.time for event in events))
        telling.handled(self._group, messages, {event.id for event in events})
        _log.debug(
            "batch handled",
            group=self._group,
            messages=len(messages),
            events=len(events),
            took_ms=round((time.perf_counter() - started_s) * 1e3, 2),
        )
        return None

    async def _apply(self, messages: list[Delivered]) -> list[Received[Any]]:
        async with self._database.transaction() as tx:
            unseen, held = await self._inbox.claim(tx, messages)
            events, behind = [], []
            for message in messages:
                if message.id in unseen:
                    # Once only, also where the batch itself has the event twice.
                    unseen.discard(message.id)
                    if message.id in held:
                        behind.append(message)
                    else:
                        events.append(self._decode(message))
            if behind:
                await graveyard.hold(tx, self._group, behind, at=self._clock.now())
            await self._handlers.apply(self._parts, tx, events)
        return events

    def _decode(self, message: Delivered) -> Received[Any]:
        return self._catalogue.decode(
            message.type,
            message.value,
            topic=message.topic,
            partition=message.partition,
            offset=message.offset,
            key=message.key,
        )

    async def _fail(self, message: Delivered, error: Exception) -> None:
        now, counts = self._clock.now(), judge(error) is not Verdict.LATER
        tally = None
        with contextlib.suppress(Unavailable):
            # Where it cannot be kept, what this process remembers has to do.
            tally = await attempts.note(self._database, self._group, message, counts=counts, at=now)
        parked = self._parking.fail(message, error, at=now, now_s=time.monotonic(), tally=tally)
        telling.failed(self._group, parked)

    async def _bury(self, parked: Parked) -> None:
        message = parked.head
        async with self._database.transaction() as tx:
            if (await self._inbox.claim(tx, [message])).new:
                await graveyard.bury(
                    tx, self._group, message, parked.error,
                    attempts=parked.attempts, first_at=parked.first_at, last_at=parked.last_at,
                )  # fmt: skip
            await attempts.forget(tx, self._group, message)
        self._measures.dead.inc()
        telling.buried(self._group, parked)

    async def _replay(self) -> bool:
        """Handle the dead letters that an operator wants handled again, and what waited behind them.

        Returns whether there may be more: after `REPLAY_S` it leaves off.
        """
        until_s = time.monotonic() + REPLAY_S
        while time.monotonic() < until_s:
            letter = None
            try:
                async with self._database.transaction() as tx:
                    letter = await graveyard.next_due(tx, self._group)
                    if letter is None:
                        return False
                    async with asyncio.timeout(APPLY_TIMEOUT_S):
                        await self._handlers.apply(self._parts, tx, [self._decode(letter.message)])
                    await graveyard.settle(tx, letter.id)
                telling.replayed(self._group, letter)
            except Exception as exc:
                if letter is None:
                    raise
                if isinstance(exc, Unavailable) and exc.code == "database-unavailable":
                    # A letter can break its own connection as well. If the database is there, it was not the database.
                    await self._database.value("SELECT 1")
                dead = await graveyard.fail_again(
                    self._database, letter, exc, at=self._clock.now(), policy=self._retries
                )
                telling.replay_failed(self._group, letter, exc, dead=dead)
        return True

    async def _commit(self, subscription: Subscription) -> None:
        moved = self._progress.moved()
        if moved:
            await subscription.commit(moved)
            self._progress.kept(moved)

    def _is_due(self, what: str, every_s: float) -> bool:
        now_s = time.monotonic()
        if now_s < self._due_s.get(what, 0.0):
            return False
        self._due_s[what] = now_s + every_s
        return True


def _say(exc: Exception, group: str, failures: int) -> None:
    if isinstance(exc, Unavailable):
        _log.warning("consumer waits", group=group, code=exc.code, detail=exc.detail, failures=failures)
    else:
        _log.error("consumer failed", group=group, failures=failures, exc_info=exc)
