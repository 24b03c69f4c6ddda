"""I10: dead letters."""

from __future__ import annotations

from tradewind.audit.books import Books
from tradewind.audit.invariants import Violation

_DEAD = """
    SELECT id, consumer_group, event_id::text, type, key, error, detail, attempts FROM dead_letter
    WHERE state = 'dead' ORDER BY id
"""


async def dead_letters_are_listed(books: Books) -> list[Violation]:
    """A dead letter that nobody has replayed or dropped is an effect that is missing; here is the list of them."""
    return [
        Violation(
            "I10",
            f"event {row['event_id']}",
            f"{row['type']} of {row['key']} is a dead letter of {row['consumer_group']} after {row['attempts']} attempts:"
            f" {row['error']}: {row['detail']}",
            f"mend the cause, then set {room}_service.dead_letter {row['id']} to `replay`, or to `dropped`",
        )
        for room in books.rooms
        for row in await books[room].rows(_DEAD)
    ]
