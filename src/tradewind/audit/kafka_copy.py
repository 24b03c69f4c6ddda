"""What a Kafka cluster holds, as the tables that the audit asks: copied into temporary tables of one of our sessions.

So the checks are the same statements, whatever keeps the bus. Most is copied before the rooms are looked at, the rest after;
a message is held in memory only with those of its chunk. Of messages that everybody has read only the head is kept, in which
the envelope's attributes are. What retention has taken away is missing here as it is in the table of our own bus.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection, Mapping
from datetime import UTC, datetime
from itertools import repeat

from tradewind.audit.bus import Bus, PostgresBus, Standing
from tradewind.audit.look import Look
from tradewind.chassis.transport import Delivered, Positions, Transport, is_kafka, open_transport

MEMBER = "tradewind audit"
HEAD_BYTES = 512

_TABLES = """
    SET temp_buffers = '64MB';
    CREATE TEMPORARY TABLE log (
        topic text, partition int, "offset" bigint, key text, event_id uuid, type text, value bytea, appended_at timestamptz
    );
    CREATE TEMPORARY TABLE partition (topic text, partition int, head bigint, PRIMARY KEY (topic, partition));
    CREATE TEMPORARY TABLE subscription (consumer_group text, topic text);
    CREATE TEMPORARY TABLE consumer_offset (consumer_group text, topic text, partition int, next_offset bigint)
"""
_LOG = ("topic", "partition", "offset", "key", "event_id", "type", "value", "appended_at")
_INDEX = 'CREATE INDEX ON log (topic, partition, "offset")'
_ANALYZE = "ANALYZE log"


class KafkaBus:
    """The bus in a Kafka cluster. `look` is a session that may make temporary tables; `readers` who reads which topics."""

    is_ours = False

    def __init__(self, transport: Transport, look: Look, readers: Mapping[str, Collection[str]]) -> None:
        self.look = look
        self._transport = transport
        self._readers = readers
        self._copied: Positions = {}

    async def standing(self) -> Standing:
        # A group's position first: so that nobody seems to have read what is not written.
        kept = {group: await self._transport.positions(group) for group in self._readers}
        heads = await self._transport.heads()
        read = {
            group: {place: kept[group].get(place, 0) for place in heads if place[0] in topics}
            for group, topics in self._readers.items()
        }
        return Standing(heads, read)

    async def prepare(self) -> None:
        """Copy what there is; the rooms are not held meanwhile."""
        await self.look.execute(_TABLES)
        await self._copy(await self.standing())
        await self.look.execute(_INDEX)

    async def freeze(self) -> None:
        standing = await self.standing()
        await self._copy(standing)
        places = [(topic, partition, head) for (topic, partition), head in standing.heads.items()]
        await self.look.copy("partition", ("topic", "partition", "head"), places)
        groups = [(group, topic) for group, topics in self._readers.items() for topic in topics]
        await self.look.copy("subscription", ("consumer_group", "topic"), groups)
        offsets = [
            (group, topic, partition, position)
            for group, positions in standing.read.items()
            for (topic, partition), position in positions.items()
        ]
        await self.look.copy("consumer_offset", ("consumer_group", "topic", "partition", "next_offset"), offsets)
        await self.look.execute(_ANALYZE)
        await self.look.freeze()

    async def _copy(self, standing: Standing) -> None:
        """Copy from where the last copy ended up to the heads."""
        read_by_all = {
            place: min((positions[place] for positions in standing.read.values() if place in positions), default=0)
            for place in standing.heads
        }
        async for messages in self._transport.read(standing.heads, self._copied or None):
            await self.look.copy("log", _LOG, list(map(_row, messages, repeat(read_by_all))))
        self._copied = standing.heads


def _row(message: Delivered, read_by_all: Positions) -> tuple[object, ...]:
    read = message.offset < read_by_all.get(message.place, 0)
    # PostgreSQL's text holds no NUL.
    return (
        message.topic, message.partition, message.offset, message.key.replace("\0", "�"), message.id,
        message.type.replace("\0", "�"), message.value[:HEAD_BYTES] if read else message.value,
        datetime.fromtimestamp(message.appended_at_ms / 1e3, UTC),
    )  # fmt: skip


@contextlib.asynccontextmanager
async def open_bus(url: str, look: Look, readers: Mapping[str, Collection[str]]) -> AsyncIterator[Bus]:
    """The bus at `url`; `look` is into its database where it has one, else where temporary tables may be made."""
    if not is_kafka(url):
        yield PostgresBus(look)
        return
    transport = await open_transport(url, member=MEMBER)
    try:
        yield KafkaBus(transport, look, readers)
    finally:
        await transport.close()
