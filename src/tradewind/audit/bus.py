"""The bus as the audit sees it: how far it is written and read, live; and, once frozen, its tables in a look.

All checks ask the bus by SQL, of tables as `chassis/transport/postgres/schema.py` has them. Where the bus is a cluster
without tables, they are copied first: see `kafka_copy.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from tradewind.audit.look import Look
from tradewind.chassis.transport import Place, Positions

_POSITIONS = """
    SELECT p.topic, p.partition, p.head, s.consumer_group, coalesce(o.next_offset, 0) AS next_offset
    FROM partition p
    LEFT JOIN subscription s ON s.topic = p.topic
    LEFT JOIN consumer_offset o
        ON o.consumer_group = s.consumer_group AND o.topic = p.topic AND o.partition = p.partition
"""


class Standing(NamedTuple):
    """How far each partition is written, and each consumer group has read. What is read was written before."""

    heads: Positions
    read: Mapping[str, Positions]

    def behind(self, heads: Positions) -> list[str]:
        """Which groups have not read up to `heads`, a sentence for each group and topic."""
        counts: dict[tuple[str, str], int] = {}
        for group, positions in self.read.items():
            for place, position in positions.items():
                if (unread := heads.get(place, 0) - position) > 0:
                    counts[group, place[0]] = counts.get((group, place[0]), 0) + unread
        return [f"{group}: {n} events of the topic {topic} not read" for (group, topic), n in sorted(counts.items())]


class Bus(Protocol):
    """The bus, whatever keeps it."""

    @property
    def look(self) -> Look:
        """Where its tables are, from `freeze` on."""
        ...

    @property
    def is_ours(self) -> bool:
        """Whether the look is into a database that is the bus's alone."""
        ...

    async def standing(self) -> Standing:
        """Where everybody is now.

        Raises:
            Unavailable: it is away.
        """
        ...

    async def prepare(self) -> None:
        """Do what takes long before the rooms are frozen; raises as `standing` does."""
        ...

    async def freeze(self) -> None:
        """Have the tables show one moment, of now, from here on; raises as `standing` does."""
        ...


class PostgresBus:
    """The bus in a PostgreSQL database of its own: the tables are there."""

    is_ours = True

    def __init__(self, look: Look) -> None:
        self.look = look

    async def standing(self) -> Standing:
        heads: Positions = {}
        read: dict[str, Positions] = {}
        for topic, partition, head, group, next_offset in await self.look.rows(_POSITIONS):
            place: Place = (topic, partition)
            heads[place] = head
            if group is not None:
                read.setdefault(group, {})[place] = next_offset
        return Standing(heads, read)

    async def prepare(self) -> None:
        return None

    async def freeze(self) -> None:
        await self.look.freeze()
