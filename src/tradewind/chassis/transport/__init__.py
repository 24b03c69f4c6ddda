"""The event bus as the rest of the chassis sees it: topics of partitions of messages, read in groups.

Every implementation keeps the same promises, and one test suite holds all of them to it:

* `publish` returns once every message is durable; messages of one key keep the order they were published in.
* Offsets of a partition are dense and in commit order: a reader that has seen offset n will never meet one below.
* A partition belongs to at most one member of a group at a time. A member that closes hands over at once, one that is
  killed within a few seconds. Delivery is at least once; the inbox makes it exactly once.
* A group that is new to a topic starts at the oldest message there is.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Protocol, TypeAlias

import msgspec

Place: TypeAlias = tuple[str, int]
"""A topic and the number of one of its partitions."""

Positions: TypeAlias = dict[Place, int]
"""For each partition an offset: of the message that comes next."""

PARTITIONS = 8
"""Of a topic that is new."""

RETENTION_S = 7 * 86_400.0
"""How long a message is kept at least. Inboxes remember ids for twice as long."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message. `id` is the event's UUID in its canonical form, `value` its bytes; `headers` travel beside them.

    A transport that meets a message without such an id makes one up from where it lies, so that it too is taken once.
    """

    topic: str
    key: str
    id: str
    type: str
    value: bytes
    headers: Mapping[str, str] = {}


class Delivered(Message, frozen=True, kw_only=True):
    """A message as it was read. `appended_at_ms`, Unix time, is when it came to the bus; 0 where the transport does not say."""

    partition: int
    offset: int
    appended_at_ms: int = 0

    @property
    def place(self) -> Place:
        """Where it came from."""
        return (self.topic, self.partition)


class Batch(msgspec.Struct, frozen=True):
    """What one fetch brought: messages, each partition's in order, and the partitions taken from us since the last one.

    Of a `lost` partition forget everything fetched and not committed: it starts again elsewhere, or here.
    A partition can be lost and have messages in the same batch; the messages came after.
    """

    messages: Sequence[Delivered] = ()
    lost: Collection[Place] = ()


class Subscription(Protocol):
    """One member of a group. Not to be used by two tasks at once."""

    async def fetch(self, max_messages: int, timeout_s: float, skip: Collection[Place] = ()) -> Batch:
        """The next messages of the partitions we own, except of those in `skip`; empty after `timeout_s`.

        Raises:
            Unavailable: `bus-unavailable`; call again later.
        """
        ...

    async def commit(self, positions: Positions) -> None:
        """Keep, for the whole group, that everything below these offsets is done. A position never goes back.

        Raises:
            Unavailable: `bus-unavailable`. Nothing is lost: what was not committed is delivered again.
        """
        ...

    async def lag(self) -> dict[str, int]:
        """Messages that are not committed yet, by topic, in the partitions we own."""
        ...

    async def close(self) -> None:
        """Leave the group and hand over at once. Never raises."""
        ...


class Transport(Protocol):
    """A way to the bus. May be shared by any number of tasks."""

    async def publish(self, messages: Sequence[Message]) -> None:
        """Append messages; returns once all of them are durable. After an error some of them may be.

        Raises:
            Unavailable: `bus-unavailable`.
        """
        ...

    async def subscribe(self, group: str, topics: Collection[str]) -> Subscription:
        """Join `group` as a reader of `topics`; topics that do not exist yet are made.

        Raises:
            Unavailable: `bus-unavailable`.
        """
        ...

    async def heads(self, topics: Collection[str] | None = None) -> Positions:
        """The offset the next message of each partition will get, of `topics` or of all there are."""
        ...

    async def positions(self, group: str) -> Positions:
        """The offset each partition's next message for `group` has; a partition it never read from stands at 0."""
        ...

    async def groups(self) -> list[str]:
        """The names of all groups that ever read, sorted."""
        ...

    def read(self, upto: Positions, start: Positions | None = None) -> AsyncIterator[Sequence[Delivered]]:
        """What lies from `start` (default: the oldest there is) to below `upto`, in chunks, without joining a group.

        Each partition's messages come in order, every one there is once. Only partitions in `upto` are read.

        Raises:
            Unavailable: `bus-unavailable`.
        """
        ...

    async def tidy(self) -> int:
        """Delete a bounded number of messages that are older than the retention and done for every group; how many.

        Where the broker sees to that itself it is 0.
        """
        ...

    async def close(self) -> None:
        """Give everything back. Never raises."""
        ...


def partition_of(key: str, partitions: int) -> int:
    """The partition of a key: CRC-32, as librdkafka's `consistent` partitioner has it, so every transport agrees."""
    return zlib.crc32(key.encode()) % partitions


async def open_transport(url: str, *, member: str) -> Transport:
    """The transport that `url` names: `postgresql://` or `kafka://`. `member` is how this process is called on the bus.

    Raises:
        ValueError: no transport has such addresses.
    """
    scheme = url.partition(":")[0]
    if scheme in {"postgresql", "postgres"}:
        from tradewind.chassis.transport.postgres import PostgresTransport

        return PostgresTransport(url, application_name=f"{member} bus")
    if is_kafka(url):
        from tradewind.chassis.transport.kafka.transport import KafkaTransport

        return KafkaTransport(url, member=member)
    raise ValueError(f"BUS_URL begins with postgresql:// or kafka://, not {scheme}:")


def is_kafka(url: str) -> bool:
    """Whether `url` names a Kafka cluster, which has no tables to migrate."""
    return url.partition(":")[0] in {"kafka", "kafka+ssl"}
