"""Topics and positions, asked and made through Kafka's admin requests."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from tradewind.chassis import logs
from tradewind.chassis.errors import Unavailable
from tradewind.chassis.transport import Place, Positions
from tradewind.chassis.transport.kafka import client
from tradewind.chassis.transport.kafka.address import Address

R = TypeVar("R")

APPEAR_TIMEOUT_S = 5.0
_APPEAR_POLL_S = 0.02
_LEADERLESS = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
}
_log = logs.get_logger("kafka")


class Cluster:
    """Asks on one librdkafka instance, opened when it is first used, and one for each group whose positions are asked. `new_partitions` is for topics that are made here."""

    def __init__(self, address: Address, member: str, *, new_partitions: int, retention_s: float) -> None:
        self._address = address
        self._member = member
        self._new_partitions = new_partitions
        self._retention_ms = int(retention_s * 1e3)
        self._admin: AdminClient | None = None
        self._consumers: dict[str, Consumer] = {}
        self._partitions: dict[str, int] = {}

    async def declare(self, topics: Collection[str]) -> dict[str, int]:
        """See to it that `topics` exist; their numbers of partitions. Who makes one first decides its number.

        Raises:
            Unavailable: `bus-unavailable`; also where they are missing and we may not make them.
        """
        unknown = sorted(set(topics) - self._partitions.keys())
        if unknown:
            found = await self._count(unknown)
            missing = [topic for topic in unknown if topic not in found]
            if missing:
                await self._make(missing)
                found |= await self._appeared(missing)
            self._partitions |= found
        return {topic: self._partitions[topic] for topic in topics}

    def forget(self) -> None:
        """Look again which topics there are: one may have been deleted."""
        self._partitions.clear()

    async def heads(self, topics: Collection[str] | None) -> Positions:
        """See `Transport.heads`."""
        counts = await self._count(topics) if topics is not None else await self._count_all()
        places = [(topic, n) for topic, count in counts.items() for n in range(count)]
        return await self._offsets(places, OffsetSpec.latest())  # type: ignore[no-untyped-call]

    async def tails(self, places: Collection[Place]) -> Positions:
        """The oldest offset that is still there, of each."""
        return await self._offsets(places, OffsetSpec.earliest())  # type: ignore[no-untyped-call]

    async def positions(self, group: str) -> Positions:
        """See `Transport.positions`.

        By a consumer that joins nothing: the admin request for it kills the process with a segmentation fault where the
        group's coordinator is just starting or moving (https://github.com/confluentinc/librdkafka/issues/5040), as it is
        after a broker's restart and before a group's first commit. A consumer waits for the coordinator.
        """
        counts = await self._count_all()
        places = [(topic, n) for topic, count in counts.items() for n in range(count)]
        if not places:
            return {}
        consumer = self._consumer(self._address.outside(group))
        asked = [TopicPartition(self._address.outside(topic), n) for topic, n in places]
        said = await client.in_thread(self._address, lambda: consumer.committed(asked, client.REQUEST_TIMEOUT_S))
        for each in said:
            if each.error is not None:
                raise client.away(self._address, each.error)
        found = {place: each.offset for place, each in zip(places, said, strict=True) if each.offset >= 0}
        topics = {topic for topic, _ in found}
        return {place: found.get(place, 0) for place in places if place[0] in topics}

    async def groups(self) -> list[str]:
        """See `Transport.groups`."""
        said = await self._result(self._client().list_consumer_groups(request_timeout=client.REQUEST_TIMEOUT_S))
        if said.errors:
            # Some broker's groups are not among those that came.
            raise client.away(self._address, said.errors[0])
        names = (self._address.inside(each.group_id) for each in said.valid)
        return sorted(name for name in names if name)

    def close(self) -> None:
        """Give the instances back."""
        self._admin = None
        for consumer in self._consumers.values():
            consumer.close()
        self._consumers.clear()

    def _consumer(self, outside: str) -> Consumer:
        if outside not in self._consumers:
            settings = client.settings(self._address, self._member)
            self._consumers[outside] = Consumer({**settings, "group.id": outside, "enable.auto.commit": False})
        return self._consumers[outside]

    def _client(self) -> AdminClient:
        if self._admin is None:
            self._admin = AdminClient(client.settings(self._address, self._member))
        return self._admin

    async def _count(self, topics: Iterable[str]) -> dict[str, int]:
        """The numbers of partitions of those topics that exist."""
        found = await asyncio.gather(*map(self._count_one, topics))
        return {topic: count for topic, count in found if count}

    async def _count_one(self, topic: str) -> tuple[str, int]:
        said = await self._metadata(self._address.outside(topic))
        described = said.topics.get(self._address.outside(topic))
        if described is None or described.error is not None:
            return topic, 0
        return topic, len(described.partitions)

    async def _count_all(self) -> dict[str, int]:
        said = await self._metadata(None)
        names = {outside: self._address.inside(outside) for outside in said.topics}
        return {name: len(said.topics[outside].partitions) for outside, name in names.items() if name}

    async def _metadata(self, topic: str | None) -> Any:
        admin = self._client()
        return await client.in_thread(self._address, lambda: admin.list_topics(topic, timeout=client.REQUEST_TIMEOUT_S))

    async def _make(self, topics: Collection[str]) -> None:
        wanted = [
            NewTopic(
                self._address.outside(topic),
                self._new_partitions,
                -1,  # as many copies as the cluster's default says
                config={"retention.ms": str(self._retention_ms), "cleanup.policy": "delete"},
            )
            for topic in topics
        ]
        futures = self._client().create_topics(wanted, request_timeout=client.REQUEST_TIMEOUT_S)
        for topic, future in zip(topics, futures.values(), strict=True):
            try:
                await self._result(future)
            except Unavailable as exc:
                if _code(exc) == KafkaError.TOPIC_ALREADY_EXISTS:
                    continue
                raise Unavailable(exc.code, f"topic {topic} is missing and could not be made: {exc.detail}") from exc
            _log.info("topic made", topic=self._address.outside(topic), partitions=self._new_partitions)

    async def _appeared(self, topics: Collection[str]) -> dict[str, int]:
        """Brokers hear of a new topic one after the other."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + APPEAR_TIMEOUT_S
        while len(found := await self._count(topics)) < len(topics):
            if loop.time() > deadline_s:
                raise client.away(self._address, f"topics made, but not seen: {', '.join(sorted(topics))}")
            await asyncio.sleep(_APPEAR_POLL_S)
        return found

    async def _offsets(self, places: Collection[Place], spec: OffsetSpec) -> Positions:
        if not places:
            return {}
        asked = {TopicPartition(self._address.outside(topic), n): spec for topic, n in places}
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + APPEAR_TIMEOUT_S
        while True:
            futures = self._client().list_offsets(asked, request_timeout=client.REQUEST_TIMEOUT_S)
            try:
                said = [(await self._result(future)).offset for future in futures.values()]
            except Unavailable as exc:
                # A partition that was made a moment ago, or whose leader changes.
                if _code(exc) not in _LEADERLESS or loop.time() > deadline_s:
                    raise
                await asyncio.sleep(_APPEAR_POLL_S)
            else:
                return dict(zip(places, said, strict=True))

    async def _result(self, future: Future[R]) -> R:
        # Awaiting a copy: librdkafka's thread fails on a future that was cancelled.
        waiting = asyncio.shield(asyncio.wrap_future(future))
        return await client.answered(self._address, waiting, timeout_s=client.REQUEST_TIMEOUT_S + 1.0)


def _code(exc: Unavailable) -> int | None:
    """The number of the Kafka error behind `exc`."""
    error = exc.__cause__.args[0] if isinstance(exc.__cause__, KafkaException) else None
    return error.code() if isinstance(error, KafkaError) else None
