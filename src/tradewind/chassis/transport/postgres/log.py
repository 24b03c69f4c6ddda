"""Writing to the log, and asking how far it and its readers are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence

import msgspec

from tradewind.chassis.debounce import Debounced
from tradewind.chassis.errors import Unavailable
from tradewind.chassis.session import Session
from tradewind.chassis.transport import PARTITIONS, RETENTION_S, Delivered, Message, Positions, partition_of
from tradewind.chassis.transport.postgres.subscription import READ, PostgresSubscription, appended, delivered

TIDY_BATCH = 1_000
READ_CHUNK = 2_000
NOTIFY_GAP_S = 0.004

_APPEND = "SELECT append($1, $2, $3, $4::uuid[], $5, $6, $7)"
# Announcing needs no durability: a reader that misses it polls.
_ANNOUNCE = """
    SELECT set_config('synchronous_commit', 'off', true), pg_notify(channel, '') FROM unnest($1::text[]) AS channel
"""
_HEADS = "SELECT topic, partition, head FROM partition WHERE $1::text[] IS NULL OR topic = ANY($1)"
_POSITIONS = """
    SELECT topic, partition, coalesce(o.next_offset, 0)
    FROM subscription JOIN partition USING (topic)
    LEFT JOIN consumer_offset AS o USING (consumer_group, topic, partition)
    WHERE consumer_group = $1
"""
# What every group has done; a topic nobody reads is kept for the retention all the same.
_TIDY = """
    WITH done AS (
        SELECT p.topic, p.partition, coalesce(min(coalesce(o.next_offset, 0)) FILTER (WHERE s.topic IS NOT NULL), p.head) AS below
        FROM partition AS p
        LEFT JOIN subscription AS s ON s.topic = p.topic
        LEFT JOIN consumer_offset AS o
            ON o.consumer_group = s.consumer_group AND o.topic = p.topic AND o.partition = p.partition
        GROUP BY p.topic, p.partition, p.head
    )
    DELETE FROM log WHERE ctid = ANY(ARRAY(
        SELECT old.ctid FROM done, LATERAL (
            SELECT l.ctid, l.appended_at FROM log AS l
            WHERE l.topic = done.topic AND l.partition = done.partition AND l."offset" < done.below
            ORDER BY l."offset" LIMIT $2
        ) AS old
        WHERE old.appended_at < clock_timestamp() - make_interval(secs => $1)
        LIMIT $2
    ))
"""


class PostgresTransport:
    """The `Transport` over the database at `url`. Opens nothing until it is used, and then one connection, plus one per
    subscription. `partitions` counts for topics that do not exist yet; `retention_s` is what `tidy` keeps at least.
    """

    def __init__(
        self,
        url: str,
        *,
        application_name: str = "tradewind bus",
        partitions: int = PARTITIONS,
        retention_s: float = RETENTION_S,
    ) -> None:
        self._url = url
        self._name = application_name
        self._new_partitions = partitions
        self._retention_s = retention_s
        self._partitions: dict[str, int] = {}
        self._session = Session(
            url, application_name=application_name, settings={"idle_session_timeout": "0"}, away="bus-unavailable"
        )
        self._grown: set[str] = set()
        self._announcer = Debounced(self._announce, gap_s=NOTIFY_GAP_S)

    async def publish(self, messages: Sequence[Message]) -> None:
        if not messages:
            return
        await self._session.open()
        topics = {message.topic for message in messages}
        for topic in sorted(topics - self._partitions.keys()):
            await self._declare(topic)
        counts = self._partitions
        await self._session.execute(
            _APPEND,
            [m.topic for m in messages],
            [partition_of(m.key, counts[m.topic]) for m in messages],
            [m.key for m in messages],
            [m.id for m in messages],
            [m.type for m in messages],
            [m.value for m in messages],
            [msgspec.json.encode(m.headers).decode() if m.headers else None for m in messages],
        )
        self._grown |= topics
        self._announcer.call()

    async def subscribe(self, group: str, topics: Collection[str]) -> PostgresSubscription:
        await self._session.open()
        classes: dict[int, tuple[str, int]] = {}
        for topic in sorted(topics):
            partitions = await self._declare(topic)
            await self._session.execute(
                "INSERT INTO subscription (consumer_group, topic) VALUES ($1, $2) ON CONFLICT DO NOTHING", group, topic
            )
            class_ = await self._session.value(
                "SELECT id FROM subscription WHERE consumer_group = $1 AND topic = $2", group, topic
            )
            classes[class_] = (topic, partitions)
        subscription = PostgresSubscription(self._url, group, classes, application_name=self._name)
        await subscription.open()
        return subscription

    async def heads(self, topics: Collection[str] | None = None) -> Positions:
        return await self._positions(_HEADS, None if topics is None else list(topics))

    async def positions(self, group: str) -> Positions:
        return await self._positions(_POSITIONS, group)

    async def groups(self) -> list[str]:
        await self._session.open()
        rows = await self._session.rows("SELECT DISTINCT consumer_group FROM subscription ORDER BY 1")
        return [row[0] for row in rows]

    async def read(self, upto: Positions, start: Positions | None = None) -> AsyncIterator[Sequence[Delivered]]:
        await self._session.open()
        begin = {place: (start or {}).get(place, 0) for place in upto}
        left = {place: offset for place, offset in begin.items() if offset < upto[place]}
        while left:
            places = [*left]
            rows = await self._session.rows(
                READ, [p[0] for p in places], [p[1] for p in places], [*left.values()], READ_CHUNK
            )
            found = [delivered(row) for row in rows]
            messages = [message for message in found if message.offset < upto[message.place]]
            if messages:
                yield messages
            for message in found:
                left[message.place] = message.offset + 1
            # With room to spare, a partition of which nothing came holds nothing more.
            came = {message.place for message in found} if len(rows) < READ_CHUNK else left.keys()
            left = {place: offset for place, offset in left.items() if offset < upto[place] and place in came}

    async def tidy(self) -> int:
        await self._session.open()
        tag = await self._session.execute(_TIDY, self._retention_s, TIDY_BATCH)
        return int(tag.split()[-1])

    async def close(self) -> None:
        await self._announcer.close()
        await self._session.close()

    async def _declare(self, topic: str) -> int:
        known = self._partitions.get(topic)
        if known is None:
            known = int(await self._session.value("SELECT declare_topic($1, $2)", topic, self._new_partitions))
            self._partitions[topic] = known
        return known

    async def _positions(self, sql: str, argument: object) -> Positions:
        await self._session.open()
        rows = await self._session.rows(sql, argument)
        return {(topic, partition): offset for topic, partition, offset in rows}

    async def _announce(self) -> None:
        grown, self._grown = self._grown, set()
        try:
            await self._session.execute(_ANNOUNCE, [appended(topic) for topic in sorted(grown)])
        except (Unavailable, asyncio.CancelledError):
            return
