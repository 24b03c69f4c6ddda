"""I9: nothing waits longer than it may. Ages are by the clock of the database in which something waits."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import NamedTuple

from tradewind.audit.books import Books
from tradewind.audit.invariants import Limits, Violation


class Wait(NamedTuple):
    """Something that waits: how it is told, a query of (subject, seconds), the longest it may, and what to do."""

    told: str
    query: str
    limit_s: Callable[[Limits], float]
    next_step: str


_ASKED_AGAIN = "is the provider away? payment-service asks it again every 10 s: GET /v1/payments/reconciliation"
WAITS: dict[str, tuple[Wait, ...]] = {
    "order": (
        Wait(
            "order {} is pending past its deadline",
            "SELECT id::text, extract(epoch FROM now() - deadline_at) FROM orders WHERE status = 'pending'",
            attrgetter("pending_s"),
            "order-service expires it within seconds: `tradewind logs order`",
        ),
    ),
    "payment": (
        Wait(
            "the charge of payment {} has no known outcome",
            """
            SELECT payment_id::text, extract(epoch FROM now() - created_at) FROM attempt
            WHERE status IN ('processing', 'authorized')
            """,
            attrgetter("outcome_s"),
            _ASKED_AGAIN,
        ),
        Wait(
            "refund {} has no known outcome",
            "SELECT id::text, extract(epoch FROM now() - created_at) FROM refund WHERE status = 'pending'",
            attrgetter("outcome_s"),
            _ASKED_AGAIN,
        ),
        Wait(
            "attempt {} was due to be looked at",
            """
            SELECT id::text, extract(epoch FROM now() - due_at) FROM attempt
            WHERE due_at IS NOT NULL AND status NOT IN ('processing', 'authorized')
            """,
            attrgetter("due_s"),
            "payment-service takes up what is due every second: `tradewind logs payment`",
        ),
        Wait(
            "payment {} waits for the customer of a cancelled order",
            """
            SELECT p.id::text, extract(epoch FROM now() - p.updated_at) FROM attempt a JOIN payment p ON p.id = a.payment_id
            WHERE a.status = 'requires_action' AND p.order_cancelled
            """,
            attrgetter("due_s"),
            "payment-service lets go of it at the provider: `tradewind logs payment`",
        ),
    ),
    "notification": (
        Wait(
            "the mail of notification {} is not sent",
            """
            SELECT n.id::text, extract(epoch FROM now() - n.created_at) FROM mail m
            JOIN notification n ON n.id = m.notification_id JOIN contact USING (user_id) WHERE m.sent_at IS NULL
            """,
            attrgetter("mail_s"),
            "notification_service.mail says why, in last_error",
        ),
    ),
}
"""What waits in one room only."""

IN_EVERY_ROOM: tuple[Wait, ...] = (
    Wait(
        "event {} is not published",
        "SELECT event_id::text, extract(epoch FROM now() - created_at) FROM outbox",
        attrgetter("unpublished_s"),
        "is the bus away, or the room? Its relay publishes at once: `tradewind ps`",
    ),
    Wait(
        "the replay of dead letter {} has not begun",
        "SELECT id::text, extract(epoch FROM now() - changed_at) FROM dead_letter WHERE state = 'replay'",
        attrgetter("replay_s"),
        "its consumer replays it within seconds, if it runs: `tradewind ps`",
    ),
    Wait(
        "nothing is before dead letter {}, and it has not been handled",
        """
        SELECT letter.id::text, extract(epoch FROM now() - (
            SELECT max(other.changed_at) FROM dead_letter AS other
            WHERE other.consumer_group = letter.consumer_group AND other.topic = letter.topic AND other.key = letter.key
        ))
        FROM dead_letter AS letter WHERE state = 'behind' AND NOT EXISTS (
            SELECT FROM dead_letter AS earlier
            WHERE earlier.consumer_group = letter.consumer_group AND earlier.topic = letter.topic
                AND earlier.key = letter.key AND earlier.id < letter.id AND earlier.state IN ('dead', 'behind', 'replay')
        )
        """,
        attrgetter("replay_s"),
        "its consumer handles it within seconds, if it runs: `tradewind ps`",
    ),
)
_TRANSACTION = Wait(
    "session {} has a transaction open",
    """
    SELECT pid || ' of ' || usename || ' (' || state || ')', extract(epoch FROM now() - xact_start) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND application_name <> 'tradewind audit'
        AND xact_start IS NOT NULL
    """,
    attrgetter("transaction_s"),
    "it keeps rows locked, and dead ones alive: pg_terminate_backend of its number ends it",
)
_BEYOND = "SELECT * FROM ({}) AS waiting (subject, waited_s) WHERE waited_s > $1::float8 ORDER BY 2 DESC"

_UNREAD = """
    SELECT s.consumer_group, p.topic, p.partition, p.head - coalesce(o.next_offset, 0) AS n,
        extract(epoch FROM now() - l.appended_at) AS waited_s
    FROM subscription s JOIN partition p USING (topic)
    LEFT JOIN consumer_offset o
        ON o.consumer_group = s.consumer_group AND o.topic = p.topic AND o.partition = p.partition
    JOIN LATERAL (
        SELECT appended_at FROM log
        WHERE log.topic = p.topic AND log.partition = p.partition AND log."offset" >= coalesce(o.next_offset, 0)
        ORDER BY log."offset" LIMIT 1
    ) l ON l.appended_at < now() - make_interval(secs => $1)
"""
_HIDDEN = """
    SELECT string_agg(DISTINCT usename, ', ') FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type IS NULL
"""


async def nothing_is_overdue(books: Books) -> list[Violation]:
    """Orders, payments, refunds, mails, events, replays and transactions are younger than their limits."""
    found: list[Violation] = []
    for room in books.rooms:
        for wait in (*WAITS.get(room, ()), *IN_EVERY_ROOM):
            found += await _beyond(books, room, wait)
    for name in books.databases:
        found += await _beyond(books, name, _TRANSACTION)
    return found


async def events_are_read(books: Books) -> list[Violation]:
    """No consumer leaves an event unread for longer than it may."""
    return [
        Violation(
            "I9",
            f"{row['consumer_group']} on {row['topic']}/{row['partition']}",
            f"{row['n']} events are unread, the oldest for {row['waited_s']:.0f} s, the limit is {books.limits.unread_s:g} s",
            "does it run, and what holds it up? `tradewind ps`, `tradewind logs`",
        )
        for row in await books.bus.rows(_UNREAD, books.limits.unread_s)
    ]


async def hidden_transactions(books: Books) -> list[str]:
    """Whose transactions cannot be looked into for lack of rights, as a sentence; none if all can."""
    roles = [await books[name].value(_HIDDEN) for name in books.databases]
    hidden = ", ".join(sorted({role for role in roles if role}))
    return [f"open transactions of {hidden}: GRANT pg_read_all_stats to the audit's roles"] if hidden else []


async def _beyond(books: Books, name: str, wait: Wait) -> list[Violation]:
    limit_s = wait.limit_s(books.limits)
    return [
        Violation(
            "I9",
            f"{name}: {wait.told.format(subject)}",
            f"for {waited_s:.0f} s, the limit is {limit_s:g} s",
            wait.next_step,
        )
        for subject, waited_s in await books[name].rows(_BEYOND.format(wait.query), limit_s)
    ]
