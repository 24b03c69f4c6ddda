"""The relay: carries committed events from the outbox to the bus, in order for each key, at least once.

Every instance of a service runs one; they divide the outbox's shards by advisory locks, so that each shard has exactly
one publisher. A publisher reads the oldest rows by id, waits until the bus has them, and deletes them in the statement
that reads the next ones. It keeps no cursor, because ids become visible out of order (a `WHERE id > last` lost one event
in eight); and it asks nobody which transactions are still open, because a long one in a neighbour's database would then
hold up everything.

A publisher that is killed between publishing and deleting leaves rows that are published once more: the inboxes know
them. One that was only thought dead can at worst repeat the oldest rows, in their order, so no key's order is broken.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from tradewind.chassis import logs
from tradewind.chassis.debounce import Debounced
from tradewind.chassis.errors import Unavailable
from tradewind.chassis.metrics import Metrics
from tradewind.chassis.outbox import SHARDS, Outbox
from tradewind.chassis.pace import Pace
from tradewind.chassis.postgres import Record
from tradewind.chassis.session import Session
from tradewind.chassis.shares import Shares
from tradewind.chassis.transport import Message, Transport

POLL_S = 0.2
LINGER_S = 0.002
GAP_S = 0.004
# What is published is deleted with the next batch; after this long, on its own.
DELETE_WITHIN_S = 0.05
BATCH = 500
BATCH_BYTES = 4 * 1024 * 1024
BALANCE_EVERY_S = 1.0
MEASURE_EVERY_S = 5.0
PUBLISH_TIMEOUT_S = 5.0
FIRST_BACK_OFF_S = 0.05
MAX_BACK_OFF_S = 2.0
MAX_COUNTED = 100_000

_CHANNEL = "outbox_grew"
_LOCK_CLASS = 7_477_002

# Deletes what is published ($4) and reads on, as one transaction. The statement still sees what it deletes.
# Rows past the byte limit wait for the next round; the first one always goes.
_NEXT = """
    WITH published AS (DELETE FROM outbox WHERE id = ANY($4::bigint[]))
    SELECT id, event_id, topic, key, type, envelope, traceparent FROM (
        SELECT *, sum(length(envelope)) OVER (ORDER BY id) - length(envelope) AS bytes_before
        FROM (
            SELECT * FROM outbox WHERE shard = ANY($1::smallint[]) AND id <> ALL($4::bigint[]) ORDER BY id LIMIT $2
        ) AS oldest
    ) AS counted
    WHERE bytes_before < $3 ORDER BY id
"""
_DELETE = "DELETE FROM outbox WHERE id = ANY($1::bigint[])"
# More are deleted on their own: each row that is read would be compared with each of them.
MOST_EXCEPTIONS = 50
_NOTIFY = "SELECT pg_notify($1, '')"
_BACKLOG = """
    SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8
    FROM (SELECT created_at FROM outbox ORDER BY id LIMIT $1) AS waiting
"""
_log = logs.get_logger("relay")


class Relay:
    """Publishes the outbox of the database at `url` on a session of its own. `run` it once, until it is cancelled.

    While commits keep coming, there is one batch in `gap_s`, so that many share it.
    """

    def __init__(
        self,
        url: str,
        transport: Transport,
        outbox: Outbox,
        *,
        metrics: Metrics | None = None,
        gap_s: float = GAP_S,
        paused: Callable[[], bool] = lambda: False,
    ) -> None:
        """While `paused()`, nothing is published, and events gather in the outbox."""
        self._paused = paused
        self._transport = transport
        self._session = Session(
            url,
            application_name="tradewind relay",
            listen={_CHANNEL: lambda _: self._wake.set()},
            # A delete that is lost in a crash only means that rows are published again.
            settings={"synchronous_commit": "off"},
        )
        self._shares = Shares(self._session, {_LOCK_CLASS: SHARDS})
        self._epoch = 0
        self._balance_at_s = self._measure_at_s = 0.0
        self._wake = asyncio.Event()
        self._pace = Pace(gap_s)
        # On the bus, and still in the outbox.
        self._published: list[int] = []
        self._tell = Debounced(self._notify, gap_s=GAP_S)
        self._measures = _Measures(metrics or Metrics())
        outbox.on_commit(self.wake)

    def wake(self) -> None:
        """Something was committed: publish it now, or tell whoever has its shard."""
        if len(self._shares.held) > 0:
            self._wake.set()
        if len(self._shares.held) < SHARDS and self._session.is_open:
            self._tell.call()

    async def run(self) -> None:
        """Publish until cancelled. No trouble of the database or the bus ends it: it backs off and goes on."""
        failures = 0
        try:
            while True:
                if self._paused():
                    await asyncio.sleep(POLL_S)
                    continue
                try:
                    more = await self._round()
                except Exception as exc:
                    failures += 1
                    _say(exc, failures)
                    await asyncio.sleep(min(FIRST_BACK_OFF_S * 2 ** min(failures - 1, 10), MAX_BACK_OFF_S))
                else:
                    failures = 0
                    if not more:
                        await self._rest()
        finally:
            await self._tell.close()
            with contextlib.suppress(Unavailable):
                await self._forget()
            await self._session.close()

    async def _round(self) -> bool:
        """One batch; returns whether there may be more at once."""
        await self._lead()
        await self._pace.wait()
        # Who wakes us from here on may have committed what the next statement does not see.
        self._wake.clear()
        shards = [unit.number for unit in self._shares.held]
        if not shards or len(self._published) > MOST_EXCEPTIONS:
            await self._forget()
        if not shards:
            return False
        rows = await self._session.rows(_NEXT, shards, BATCH, BATCH_BYTES, self._published)
        self._published = []
        if not rows:
            return False
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                await self._transport.publish([_message(row) for row in rows])
        except TimeoutError as exc:
            raise Unavailable("bus-unavailable", f"The bus did not confirm within {PUBLISH_TIMEOUT_S:g} s.") from exc
        self._published = [row["id"] for row in rows]
        self._measures.published.inc(len(rows))
        if len(rows) == BATCH or sum(len(row["envelope"]) for row in rows) > BATCH_BYTES // 2:
            return True
        # No backlog: let what is being committed gather for the next round.
        self._pace.mark()
        return False

    async def _forget(self) -> None:
        """Delete what is published, on its own."""
        if self._published:
            await self._session.execute(_DELETE, self._published)
            self._published = []

    async def _lead(self) -> None:
        """Hold our share of the shards, on a living session; look at it once a second."""
        epoch = await self._session.open()
        if epoch != self._epoch:
            await self._shares.enter()
            self._epoch = epoch
            self._balance_at_s = 0.0
        now_s = time.monotonic()
        if now_s >= self._balance_at_s:
            self._balance_at_s = now_s + BALANCE_EVERY_S
            gained, surplus = await self._shares.balance()
            # Between two rounds nothing is in the works; what is published is deleted, or its new owner repeats it.
            if surplus:
                await self._forget()
            await self._shares.release(surplus)
            if gained or surplus:
                _log.info("relay shards", held=len(self._shares.held), of=SHARDS)
        if now_s >= self._measure_at_s:
            self._measure_at_s = now_s + MEASURE_EVERY_S
            row = await self._session.row(_BACKLOG, MAX_COUNTED)
            if row is not None:
                self._measures.backlog, self._measures.oldest_s = row

    async def _rest(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DELETE_WITHIN_S if self._published else POLL_S):
                await self._wake.wait()
                # A moment for the commits right behind this one: a batch of five costs the bus one commit, not five.
                await asyncio.sleep(LINGER_S)

    async def _notify(self) -> None:
        # On its own, after the commit: inside the transaction it would queue up all writers of the database.
        with contextlib.suppress(Unavailable):
            await self._session.execute(_NOTIFY, _CHANNEL)


class _Measures:
    """What a relay shows on /metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self.backlog = 0
        self.oldest_s = 0.0
        self.published = metrics.counter("outbox_published_events", "Events carried from the outbox to the bus.")
        metrics.watch_outbox(lambda: self.backlog)
        metrics.watch(
            "outbox_oldest_event_seconds", "Age of the oldest event not yet published.", lambda: self.oldest_s
        )


def _say(exc: Exception, failures: int) -> None:
    if isinstance(exc, Unavailable):
        _log.warning("relay waits", code=exc.code, detail=exc.detail, failures=failures)
    else:
        _log.error("relay failed", failures=failures, exc_info=exc)


def _message(row: Record) -> Message:
    _, event_id, topic, key, type_, envelope, traceparent = row
    return Message(
        topic=topic,
        key=key,
        id=str(event_id),
        type=type_,
        value=envelope,
        headers={"traceparent": traceparent} if traceparent else {},
    )
