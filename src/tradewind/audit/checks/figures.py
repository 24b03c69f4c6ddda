"""I7 and I8: what customers were told, and what the analytics say."""

from __future__ import annotations

from datetime import timedelta

from tradewind.audit.invariants import Violation
from tradewind.audit.sources import Books

_MARGIN = timedelta(seconds=1)

_MAIL = """
    SELECT n.id::text AS id, count(DISTINCT m.message_id) AS ids FROM notification n
    LEFT JOIN mail m ON m.notification_id = n.id GROUP BY n.id HAVING count(DISTINCT m.message_id) <> 1
"""
_SHARED = "SELECT message_id, count(*) AS n FROM mail GROUP BY message_id HAVING count(*) > 1"

_LEDGER = """
    SELECT p.order_id::text, t.currency,
        coalesce(sum(t.amount_minor) FILTER (WHERE cause = 'capture'), 0)::bigint AS captured,
        coalesce(sum(t.amount_minor) FILTER (WHERE cause = 'refund'), 0)::bigint AS refunded
    FROM ledger_transaction t JOIN payment p ON p.id = t.payment_id WHERE cause IN ('capture', 'refund')
    GROUP BY p.order_id, t.currency HAVING max(t.booked_at) < $1
"""
_MOVING = """
    SELECT DISTINCT p.order_id::text FROM ledger_transaction t JOIN payment p ON p.id = t.payment_id WHERE t.booked_at >= $1
"""
_FACTS = """
    SELECT order_id::text, currency,
        coalesce(sum(amount_minor) FILTER (WHERE kind = 'captured'), 0)::bigint AS captured,
        coalesce(sum(amount_minor) FILTER (WHERE kind = 'refunded'), 0)::bigint AS refunded
    FROM money_fact GROUP BY order_id, currency
"""


async def one_message_id_per_notification(books: Books) -> list[Violation]:
    """Each notification has one Message-ID, and no two share one."""
    look = books["notification"]
    found = [
        Violation("I7", f"notification {row['id']}", f"it has {row['ids']} Message-IDs")
        for row in await look.rows(_MAIL)
    ]
    found += [
        Violation("I7", f"message {row['message_id']}", f"{row['n']} notifications share it")
        for row in await look.rows(_SHARED)
    ]
    return found


async def analytics_equal_the_ledger(books: Books) -> list[Violation]:
    """Order by order, what the analytics count is what the ledger booked."""
    until = books.began_at - _MARGIN
    moving = {row["order_id"] for row in await books["payment"].rows(_MOVING, until)}
    booked = {
        (row["order_id"], row["currency"]): (row["captured"], row["refunded"])
        for row in await books["payment"].rows(_LEDGER, until)
    }
    counted = {
        (row["order_id"], row["currency"]): (row["captured"], row["refunded"])
        for row in await books["analytics"].rows(_FACTS)
        if row["order_id"] not in moving
    }
    return [
        Violation(
            "I8",
            f"order {order_id}",
            f"the ledger has {booked.get((order_id, currency), (0, 0))}, the analytics"
            f" {counted.get((order_id, currency), (0, 0))} (captured, refunded; {currency}, minor units)",
        )
        for order_id, currency in sorted(booked.keys() | counted.keys())
        if booked.get((order_id, currency), (0, 0)) != counted.get((order_id, currency), (0, 0))
    ]
