"""I9: nothing waits longer than it may. Ages are by the clock of the database in which something waits."""

from __future__ import annotations

from typing import NamedTuple

from tradewind.audit.books import BUS, Books
from tradewind.audit.invariants import Violation


class Limit(NamedTuple):
    """What waits, as a query of (subject, seconds it has waited beyond nothing), the longest it may, and what to do."""

    what: str
    query: str
    limit_s: float
    next_step: str


_PROCESSING = "is the provider away? GET /v1/payments/reconciliation; payment-service asks again within 10 s"
LIMITS: dict[str, tuple[Limit, ...]] = {
    "order": (
        Limit(
            "order {} is pending past its deadline",
            "SELECT id::text, extract(epoch FROM now() - expires_at) FROM orders WHERE status = 'pending'",
            60.0,
            "order-service expires it within 5 s: `tradewind logs order`",
        ),
    ),
    "payment": (
        Limit(
            "the charge of payment {} has an unknown outcome",
            "SELECT payment_id::text, extract(epoch FROM now() - created_at) FROM attempt WHERE status = 'processing'",
            60.0,
            _PROCESSING,
        ),
        Limit(
            "refund {} has no outcome",
            "SELECT id::text, extract(epoch FROM now() - created_at) FROM refund WHERE status = 'pending'",
            60.0,
            _PROCESSING,
        ),
        # The queue itself: whatever is due, of whatever status, somebody takes up.
        Limit(
            "{} was due to be looked at",
            """
            SELECT 'attempt ' || id, extract(epoch FROM now() - due_at) FROM attempt
            WHERE due_at IS NOT NULL AND status <> 'processing'
            """,
            60.0,
            "payment-service takes up what is due every second: `tradewind logs payment`",
        ),
        Limit(
            "payment {} waits for the customer of a cancelled order",
            """
            SELECT p.id::text, extract(epoch FROM now() - p.updated_at) FROM attempt a JOIN payment p ON p.id = a.payment_id
            WHERE a.status = 'requires_action' AND p.order_cancelled
            """,
            60.0,
            "payment-service lets go of it at the provider: `tradewind logs payment`",
        ),
    ),
    "notification": (
        Limit(
            "the mail of notification {} is not sent",
            """
            SELECT n.id::text, extract(epoch FROM now() - n.created_at) FROM mail m
            JOIN notification n ON n.id = m.notification_id JOIN contact USING (user_id) WHERE m.sent_at IS NULL
            """,
            600.0,
            "notification_service: mail.last_error says why",
        ),
    ),
}
IN_EVERY_ROOM: tuple[Limit, ...] = (
    Limit(
        "event {} is not published",
        "SELECT event_id::text, extract(epoch FROM now() - created_at) FROM outbox",
        60.0,
        "is the bus away? The room's relay publishes at once: `tradewind logs`",
    ),
    Limit(
        "the replay of dead letter {} has not begun",
        "SELECT id::text, extract(epoch FROM now() - changed_at) FROM dead_letter WHERE state = 'replay'",
        60.0,
        "does its consumer run? It replays within a second: `tradewind ps`",
    ),
)
EVERYWHERE: tuple[Limit, ...] = (
    Limit(
        "session {} has a transaction open",
        """
        SELECT pid || ' of ' || usename || ' (' || state || ')', extract(epoch FROM now() - xact_start)
        FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
            AND xact_start IS NOT NULL AND application_name <> 'tradewind audit'
        """,
        60.0,
        "it keeps rows locked and dead ones alive: SELECT pg_terminate_backend(pid)",
    ),
)

UNREAD_LIMIT_S = 60.0
_UNREAD = """
    SELECT s.consumer_group, p.topic, p.partition, p.head - coalesce(o.next_offset, 0) AS n,
        extract(epoch FROM now() - l.appended_at) AS waited_s
    FROM subscription s JOIN partition p USING (topic)
    LEFT JOIN consumer_offset o ON o.consumer_group = s.consumer_group AND o.topic = p.topic AND o.partition = p.partition
    JOIN LATERAL (
        SELECT appended_at FROM log
        WHERE log.topic = p.topic AND log.partition = p.partition AND log."offset" >= coalesce(o.next_offset, 0)
        ORDER BY log."offset" LIMIT 1
    ) l ON true
    WHERE l.appended_at < now() - make_interval(secs => $1)
"""
_SESSIONS_HIDDEN = """
    SELECT string_agg(DISTINCT usename, ', ') FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type IS NULL AND pid <> pg_backend_pid()
"""


async def nothing_is_overdue(books: Books) -> list[Violation]:
    """Orders, payments, refunds, mails, events, replays and transactions are younger than their limits."""
    found: list[Violation] = []
    for room in books.rooms:
        for limit in (*LIMITS.get(room, ()), *IN_EVERY_ROOM, *EVERYWHERE):
            found += await _beyond(books, room, limit)
    for limit in EVERYWHERE:
        found += await _beyond(books, BUS, limit)
    return found


async def events_are_read(books: Books) -> list[Violation]:
    """No consumer leaves an event unread for longer than a minute."""
    return [
        Violation(
            "I9",
            f"{row['consumer_group']} on {row['topic']}/{row['partition']}",
            f"{row['n']} events are not read, the oldest for {row['waited_s']:.0f} s; the limit is {UNREAD_LIMIT_S:.0f} s",
            "does it run, and what holds it up? `tradewind ps`, `tradewind logs`",
        )
        for row in await books.bus.rows(_UNREAD, UNREAD_LIMIT_S)
    ]


async def hidden_sessions(books: Books) -> list[str]:
    """Where transactions cannot be looked into for lack of rights, a sentence each."""
    hidden: list[str] = []
    for name in (*books.rooms, BUS):
        if roles := await books[name].value(_SESSIONS_HIDDEN):
            hidden.append(f"{name}: how long transactions of {roles} are open; GRANT pg_read_all_stats to the audit's role")
    return hidden


async def _beyond(books: Books, name: str, limit: Limit) -> list[Violation]:
    return [
        Violation(
            "I9",
            f"{name}: {limit.what.format(subject)}",
            f"for {waited_s:.0f} s; the limit is {limit.limit_s:.0f} s",
            limit.next_step,
        )
        for subject, waited_s in await books[name].rows(f"SELECT * FROM ({limit.query}) AS q (subject, waited_s) WHERE waited_s > $1", limit.limit_s)
    ]
