"""I9: nothing waits longer than it may."""

from __future__ import annotations

from tradewind.audit.invariants import Violation
from tradewind.audit.sources import Books

# Room: (what waits, rows of (subject, seconds it has waited), the longest it may, in seconds).
_WAITING: dict[str, tuple[tuple[str, str, float], ...]] = {
    "order": (
        (
            "is pending past its deadline",
            "SELECT id::text, extract(epoch FROM now() - expires_at) FROM orders WHERE status = 'pending'",
            60.0,
        ),
    ),
    "payment": (
        (
            "has an unknown outcome",
            "SELECT payment_id::text, extract(epoch FROM now() - created_at) FROM attempt WHERE status = 'processing'",
            60.0,
        ),
        (
            "is a refund without an outcome",
            "SELECT id::text, extract(epoch FROM now() - created_at) FROM refund WHERE status = 'pending'",
            60.0,
        ),
    ),
    "notification": (
        (
            "is a mail that is not sent",
            """
            SELECT n.id::text, extract(epoch FROM now() - n.created_at) FROM mail m
            JOIN notification n ON n.id = m.notification_id JOIN contact USING (user_id) WHERE m.sent_at IS NULL
            """,
            600.0,
        ),
    ),
}
_OUTBOX = (
    "is an event not yet published",
    "SELECT event_id::text, extract(epoch FROM now() - created_at) FROM outbox",
    60.0,
)
_SESSION_LIMIT_S = 60.0
_SESSIONS = """
    SELECT pid::text, extract(epoch FROM now() - xact_start), state FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
        AND xact_start < now() - make_interval(secs => $1) AND application_name <> 'tradewind audit'
"""


async def nothing_is_overdue(books: Books) -> list[Violation]:
    """Orders, payments, refunds, mails, events and transactions are younger than their limits."""
    found: list[Violation] = []
    for room in books.rooms:
        for what, query, limit_s in (*_WAITING.get(room, ()), _OUTBOX):
            for subject, waited_s in await books[room].rows(query):
                if waited_s > limit_s:
                    detail = f"{what}: {waited_s:.0f} s, the limit is {limit_s:.0f} s"
                    found.append(Violation("I9", f"{room} {subject}", detail))
        for pid, open_s, state in await books[room].rows(_SESSIONS, _SESSION_LIMIT_S):
            found.append(
                Violation("I9", f"{room} session {pid}", f"has a transaction open ({state}) for {open_s:.0f} s")
            )
    return found
