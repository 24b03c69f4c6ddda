"""The `Transport` over a Kafka cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence

from tradewind.chassis.transport import PARTITIONS, RETENTION_S, Delivered, Message, Positions
from tradewind.chassis.transport.kafka.address import parse
from tradewind.chassis.transport.kafka.cluster import Cluster
from tradewind.chassis.transport.kafka.producing import Publisher
from tradewind.chassis.transport.kafka.scan import scan
from tradewind.chassis.transport.kafka.subscription import KafkaSubscription


class KafkaTransport:
    """The `Transport` over the cluster at `url`. Opens nothing until it is used.

    `partitions` and `retention_s` count for topics that do not exist yet.

    Raises:
        ValueError: `url` is no Kafka address.
    """

    def __init__(
        self, url: str, *, member: str = "tradewind", partitions: int = PARTITIONS, retention_s: float = RETENTION_S
    ) -> None:
        self._address = parse(url)
        self._member = member
        self._cluster = Cluster(self._address, member, new_partitions=partitions, retention_s=retention_s)
        self._publisher = Publisher(self._address, member)

    async def publish(self, messages: Sequence[Message]) -> None:
        if not messages:
            return
        await self._cluster.declare({message.topic for message in messages})
        try:
            await self._publisher.publish(messages)
        except BaseException:
            self._cluster.forget()
            raise

    async def subscribe(self, group: str, topics: Collection[str]) -> KafkaSubscription:
        await self._cluster.declare(topics)
        subscription = KafkaSubscription(self._address, self._member, group, topics, self._cluster)
        await subscription.open()
        return subscription

    async def heads(self, topics: Collection[str] | None = None) -> Positions:
        return await self._cluster.heads(topics)

    async def positions(self, group: str) -> Positions:
        return await self._cluster.positions(group)

    async def groups(self) -> list[str]:
        return await self._cluster.groups()

    async def read(self, upto: Positions, start: Positions | None = None) -> AsyncIterator[Sequence[Delivered]]:
        async for messages in scan(self._address, self._member, start or {}, upto):
            yield messages

    async def tidy(self) -> int:
        # The brokers delete by themselves what is older than the topic's retention.
        return 0

    async def close(self) -> None:
        await self._publisher.close()
        self._cluster.close()
