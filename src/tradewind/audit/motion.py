"""What is on its way between the rooms at this moment, and so cannot be compared yet. Why this is all: see `books.py`."""

# ruff: noqa: S608 - only the constants below are formatted into statements

from __future__ import annotations

from typing import TypeAlias

from tradewind.audit.books import Books
from tradewind.chassis.transport import Positions

# A message may be anything, also no JSON and no text at all: the regular expression reads what can be read.
_ORDER = """coalesce(substring(encode({}, 'escape') FROM '"order_id"\\s*:\\s*"([0-9a-f-]{{36}})"'), key)"""
# LATERAL: a few messages behind each position are found by the index; the planner would rather join the whole log.
_BEHIND = """
    SELECT DISTINCT {} AS subject
    FROM unnest($1::text[], $2::int[], $3::bigint[]) AS after (topic, partition, next_offset) CROSS JOIN LATERAL (
        SELECT key, value FROM log
        WHERE log.topic = after.topic AND log.partition = after.partition AND log."offset" >= after.next_offset OFFSET 0
    ) AS message
"""
_ORDERS_BEHIND = _BEHIND.format(_ORDER.format("value"))
_KEYS_BEHIND = _BEHIND.format("key")
_ORDERS_IN_OUTBOX = f"SELECT DISTINCT {_ORDER.format('envelope')} AS subject FROM outbox"
_KEYS_IN_OUTBOX = "SELECT DISTINCT key AS subject FROM outbox"


Way: TypeAlias = tuple[str, str]
"""From the room that tells to the room that hears."""


async def in_motion(books: Books, *ways: Way) -> frozenset[str]:
    """Ids of orders with an event on one of the ways, in the outbox or on the bus; keys of events that have no `order_id`.

    A room's topic has the room's name.
    """
    found: set[str] = set()
    for producer, consumer in ways:
        found |= {row["subject"] for row in await books[producer].rows(_ORDERS_IN_OUTBOX)}
        read = books.read_by(f"{consumer}-service", [producer])
        found |= {row["subject"] for row in await books.bus.rows(_ORDERS_BEHIND, *columns(read))}
    return frozenset(found)


async def keys_in_motion(books: Books, producer: str) -> frozenset[str]:
    """Keys of a producer's events that were on their way to the bus while we looked at the rooms."""
    found = {row["subject"] for row in await books[producer].rows(_KEYS_IN_OUTBOX)}
    heads = {place: head for place, head in books.heads.items() if place[0] == producer}
    found |= {row["subject"] for row in await books.bus.rows(_KEYS_BEHIND, *columns(heads))}
    return frozenset(found)


def columns(positions: Positions) -> tuple[list[str], list[int], list[int]]:
    """Positions as arguments for `unnest(text[], int[], bigint[])`."""
    return [topic for topic, _ in positions], [partition for _, partition in positions], list(positions.values())
