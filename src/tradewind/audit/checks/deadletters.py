"""I10: dead letters."""

from __future__ import annotations

from tradewind.audit.books import Books
from tradewind.audit.invariants import Violation

_DEAD = """
    SELECT id, consumer_group, event_id::text, type, key, error, detail, attempts, (
        SELECT count(*) FROM dead_letter AS later
        WHERE later.consumer_group = letter.consumer_group AND later.topic = letter.topic AND later.key = letter.key
            AND later.id > letter.id AND later.state = 'behind'
    ) AS behind
    FROM dead_letter AS letter WHERE state = 'dead' ORDER BY id
"""


async def dead_letters_are_listed(books: Books) -> list[Violation]:
    """A dead letter that nobody has replayed or dropped is an effect that is missing, and holds up what follows it."""
    return [
        Violation(
            "I10",
            f"event {row['event_id']}",
            f"{row['type']} of {row['key']} is a dead letter of {row['consumer_group']}: {row['error']}: {row['detail']}"
            f" (tries: {row['attempts']}; events behind it: {row['behind']})",
            f"mend the cause, then `tradewind dlq replay {room}:{row['id']}`, or drop it",
        )
        for room in books.rooms
        for row in await books[room].rows(_DEAD)
    ]
