"""The outbox: events are rows of the transaction that made them true, and the relay carries them to the bus.

    async with database.transaction() as tx:
        order = await store.confirm(tx, order_id)          # locks the aggregate's row and raises its version
        await outbox.add(tx, OrderConfirmed(...), key=order.id, version=order.version)

Because the aggregate's row is locked first, the rows of one key get their ids in the order of their commits; between
keys no order is promised. Nothing is notified inside the transaction, which would halve the throughput of all writers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from tradewind.chassis import trace
from tradewind.chassis.clock import Clock, SystemClock
from tradewind.chassis.events import Envelope, Event, encode
from tradewind.chassis.ids import new_id
from tradewind.chassis.postgres import Tx
from tradewind.chassis.transport import partition_of

SHARDS = 8
"""Relays divide the outbox by these; as many as a topic has partitions, so that they seldom meet on the bus either."""

_INSERT = """
    INSERT INTO outbox (shard, event_id, topic, key, type, version, envelope, traceparent)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""
_INSERT_MANY = """
    INSERT INTO outbox (shard, event_id, topic, key, type, version, envelope, traceparent)
    SELECT shard, event_id, topic, key, type, version, envelope, traceparent
    FROM unnest($1::smallint[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bytea[], $8::text[])
        WITH ORDINALITY AS entry(shard, event_id, topic, key, type, version, envelope, traceparent, line)
    ORDER BY line
"""
_TYPES = ("smallint", "uuid", "text", "text", "text", "bigint", "bytea", "text")


class Entry(NamedTuple):
    """A row of the outbox, as statement arguments."""

    shard: int
    event_id: str
    topic: str
    key: str
    type: str
    version: int
    envelope: bytes
    traceparent: str | None


class Outbox:
    """Where the service called `source` puts its events. Keeps no events itself, so one may serve any number of tasks."""

    def __init__(self, source: str, *, clock: Clock | None = None) -> None:
        self._source = source
        self._clock = clock or SystemClock()
        self._listeners: list[Callable[[], None]] = []

    def on_commit(self, call: Callable[[], None]) -> None:
        """Have `call` run after every commit that added events; it must neither block nor raise."""
        self._listeners.append(call)

    async def add(self, tx: Tx, event: Event, *, key: str, version: int) -> None:
        """Add an event about the aggregate `key`, whose change made it `version`. Takes part in `tx`.

        Raises:
            ValueError: the event takes more than 256 KiB.
        """
        await tx.execute(_INSERT, *self.entry(event, key=key, version=version))
        self.announce(tx)

    async def add_many(self, tx: Tx, events: Iterable[tuple[Event, str, int]]) -> None:
        """Add (event, key, version) in this order, in one statement.

        Raises:
            ValueError: an event takes more than 256 KiB.
        """
        entries = [self.entry(event, key=key, version=version) for event, key, version in events]
        if entries:
            await tx.execute(_INSERT_MANY, *map(list, zip(*entries, strict=True)))
            self.announce(tx)

    def entry(self, event: Event, *, key: str, version: int) -> Entry:
        """The row of an event: for a statement that changes an aggregate and adds its event in one go (`insert_sql`).

        Raises:
            ValueError: the event takes more than 256 KiB, or `key` is not what its `KEY` field says.
        """
        if event.KEY and getattr(event, event.KEY) != key:
            raise ValueError(f"{event.TYPE} is keyed by its {event.KEY}, and {key!r} is another")
        event_id = new_id()
        traceparent = trace.current_traceparent()
        envelope = Envelope(
            id=event_id,
            source=self._source,
            type=event.TYPE,
            subject=key,
            time=self._clock.now(),
            aggregateversion=version,
            traceparent=msgspec.UNSET if traceparent is None else traceparent,
            data=event,
        )
        shard = partition_of(key, SHARDS)
        return Entry(shard, event_id, event.TOPIC, key, event.TYPE, version, encode(envelope), traceparent)

    def announce(self, tx: Tx) -> None:
        """Wake the relay once `tx` has committed. `add` and `add_many` do it by themselves."""
        for listener in self._listeners:
            tx.after_commit(listener)


def insert_sql(first: int) -> str:
    """`INSERT INTO outbox ... SELECT $first, ...` for an `Entry`'s eight values, to be used inside a WITH.

    Add ` FROM changed` to write the event for each row that the change hit::

        f"WITH changed AS (UPDATE ... RETURNING 1), event AS ({insert_sql(4)} FROM changed) SELECT count(*) FROM changed"
    """
    values = ", ".join(f"${n}::{type_}" for n, type_ in enumerate(_TYPES, first))
    return f"INSERT INTO outbox (shard, event_id, topic, key, type, version, envelope, traceparent) SELECT {values}"
