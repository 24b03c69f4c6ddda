"""I7: Message-IDs."""

from __future__ import annotations

from tradewind.audit.books import Books
from tradewind.audit.invariants import Violation

_NOT_ONE = """
    SELECT n.id::text, count(m.notification_id) AS n FROM notification n LEFT JOIN mail m ON m.notification_id = n.id
    GROUP BY n.id HAVING count(m.notification_id) <> 1
"""
_SHARED = """
    SELECT message_id, count(*) AS n, min(notification_id::text) AS first FROM mail GROUP BY message_id HAVING count(*) > 1
"""


async def one_message_id_per_notification(books: Books) -> list[Violation]:
    """Each notification has one Message-ID, and no two share one."""
    look = books["notification"]
    found = [
        _breach(f"notification {row['id']}", f"it has {row['n']} Message-IDs", row["id"])
        for row in await look.rows(_NOT_ONE)
    ]
    found += [
        _breach(f"message {row['message_id']}", f"{row['n']} notifications share it", row["first"])
        for row in await look.rows(_SHARED)
    ]
    return found


def _breach(subject: str, detail: str, notification_id: str) -> Violation:
    return Violation(
        "I7",
        subject,
        detail,
        f"notification_service.mail, notification {notification_id}: receivers tell a repeated mail by this id",
    )
