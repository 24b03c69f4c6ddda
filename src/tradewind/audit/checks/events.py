"""I4, I5 and I10: events, from the aggregate that caused them to every consumer."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from tradewind.audit.invariants import Violation
from tradewind.audit.sources import Books
from tradewind.chassis.consumer import Handlers

# Read up to where a group's position stands: what lies behind it must be in its inbox, or be a dead letter.
_DELIVERED = """
    SELECT l.event_id::text FROM log l
    JOIN consumer_offset o ON o.consumer_group = $1 AND o.topic = l.topic AND o.partition = l.partition
    WHERE l.type = ANY($2::text[]) AND l."offset" < o.next_offset
"""
_TAKEN = "SELECT event_id::text FROM inbox WHERE consumer_group = $1"
_BURIED = "SELECT event_id::text FROM dead_letter WHERE consumer_group = $1"
_DEAD = "SELECT consumer_group, event_id::text, type, error, attempts FROM dead_letter WHERE state = 'dead' ORDER BY id"

_VERSIONS = """
    SELECT topic, key, min(version) AS first, max(version) AS last, count(*) AS n, count(DISTINCT version) AS versions FROM (
        SELECT topic, key, event_id, (convert_from(value, 'UTF8')::jsonb ->> 'aggregateversion')::bigint AS version FROM log
    ) e GROUP BY topic, key
"""
# Producer: its topic, and each aggregate with the version of its last event. What is still in the outbox is on its way.
_AGGREGATES: Mapping[str, tuple[str, str]] = {
    "order": ("order", "SELECT id::text AS key, event_version AS version FROM orders WHERE event_version > 0"),
    "payment": ("payment", "SELECT id::text AS key, version FROM payment WHERE version > 0"),
}
_ON_THE_WAY = "SELECT DISTINCT key FROM outbox"


async def took_effect_once(books: Books) -> list[Violation]:
    """Every event behind a consumer's position is in its inbox, or among its dead letters."""
    found: list[Violation] = []
    for room in books.rooms:
        types = _handled_types(room)
        if not types:
            continue
        group = f"{room}-service"
        taken = {row[0] for row in await books[room].rows(_TAKEN, group)}
        taken |= {row[0] for row in await books[room].rows(_BURIED, group)}
        found += [
            Violation("I4", f"event {row[0]}", f"{group} has passed it without taking it")
            for row in await books["bus"].rows(_DELIVERED, group, types)
            if row[0] not in taken
        ]
    return found


async def versions_have_no_gap(books: Books) -> list[Violation]:
    """An aggregate's events on the bus count up by one, each once, to the version the aggregate has."""
    found: list[Violation] = []
    on_the_bus: dict[tuple[str, str], int] = {}
    for row in await books["bus"].rows(_VERSIONS):
        on_the_bus[row["topic"], row["key"]] = row["last"]
        # Retention takes the oldest; between the first there is and the last there must be all. The same event twice is
        # what at-least-once means, so versions count, not rows.
        if row["versions"] != row["last"] - row["first"] + 1:
            found.append(
                Violation(
                    "I5",
                    f"{row['topic']} {row['key']}",
                    f"versions {row['first']} to {row['last']}, but {row['versions']} of them",
                )
            )
    for room, (topic, query) in _AGGREGATES.items():
        on_the_way = {row["key"] for row in await books[room].rows(_ON_THE_WAY)}
        for row in await books[room].rows(query):
            published = on_the_bus.get((topic, row["key"]))
            if published is not None and published < row["version"] and row["key"] not in on_the_way:
                found.append(
                    Violation("I5", f"{topic} {row['key']}", f"has version {row['version']}, the bus knows {published}")
                )
    return found


async def dead_letters_are_listed(books: Books) -> list[Violation]:
    """A dead letter that nobody has replayed or dropped is an effect that is missing; here is the list of them."""
    return [
        Violation(
            "I10",
            f"event {row['event_id']}",
            f"{row['type']} is a dead letter of {row['consumer_group']} after {row['attempts']} attempts: {row['error']}",
        )
        for room in books.rooms
        for row in await books[room].rows(_DEAD)
    ]


def _handled_types(room: str) -> list[str]:
    try:
        module = importlib.import_module(f"tradewind.services.{room}.consumer")
    except ModuleNotFoundError:
        return []
    handlers: Handlers[object] = module.handlers
    return sorted(event.TYPE for event in handlers.types)
