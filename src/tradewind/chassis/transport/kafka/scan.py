"""Reading what there is, up to given offsets, without being a member of any group."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection

from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka import Message as Raw

from tradewind.chassis.transport import Delivered, Place, Positions
from tradewind.chassis.transport.kafka import client, wire
from tradewind.chassis.transport.kafka.address import Address

CHUNK = 2_000
SILENCE_S = 5.0


async def scan(address: Address, member: str, start: Positions, upto: Positions) -> AsyncIterator[list[Delivered]]:
    """Messages from `start` to below `upto`, in chunks; each partition's in order. See `Transport.read`.

    Raises:
        Unavailable: `bus-unavailable`: nothing came for `SILENCE_S`.
    """
    reading = _Reading(address, member, start, upto)
    try:
        while reading.open:
            raws = await client.in_thread(address, reading.next, timeout_s=SILENCE_S)
            if not raws:
                raise client.away(address, f"nothing came within {SILENCE_S:g} s")
            messages = reading.wanted(raws)
            if messages:
                yield messages
    finally:
        await client.in_thread(address, reading.close)


class _Reading:
    def __init__(self, address: Address, member: str, start: Positions, upto: Positions) -> None:
        self._address = address
        self._upto = upto
        self.open: set[Place] = {place for place, end in upto.items() if start.get(place, 0) < end}
        self._consumer = Consumer(
            {
                **client.settings(address, member),
                # Required, and never joined.
                "group.id": address.outside("scan"),
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
                # How we learn that the last messages before the end were none: expired, or a transaction's marks.
                "enable.partition.eof": True,
                "fetch.queue.backoff.ms": 5,
                "queued.max.messages.kbytes": 32_768,
            }
        )
        self._consumer.assign(
            [TopicPartition(address.outside(topic), n, start.get((topic, n), 0)) for topic, n in self.open]
        )

    def next(self) -> list[Raw]:
        """What has come; waits for the first. Empty after `SILENCE_S`."""
        first = self._consumer.poll(SILENCE_S)
        return [] if first is None else [first, *self._consumer.consume(CHUNK, 0)]

    def wanted(self, raws: Collection[Raw]) -> list[Delivered]:
        """The messages among `raws` that were asked for; notes which partitions are through."""
        for raw in raws:
            error = raw.error()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its name
                self._reached(raw, raw.offset() or 0)
        found = []
        for message in wire.all_delivered(self._address, raws):
            end = self._upto.get(message.place, 0)
            if message.offset < end:
                found.append(message)
            if message.offset >= end - 1:
                self.open.discard(message.place)
        return found

    def close(self) -> None:
        """Give the instance back."""
        self._consumer.close()

    def _reached(self, raw: Raw, offset: int) -> None:
        topic = self._address.inside(raw.topic() or "")
        place = (topic or "", raw.partition() or 0)
        if offset >= self._upto.get(place, 0):
            self.open.discard(place)
