"""I8: the analytics."""

from __future__ import annotations

from tradewind.audit.books import PAYMENT, Books
from tradewind.audit.compare import Side, differences
from tradewind.audit.invariants import Violation
from tradewind.audit.motion import in_motion
from tradewind.chassis.postgres import Record

_LEDGER = """
    SELECT p.order_id AS key, string_agg(captured || ' captured, ' || refunded || ' refunded ' || t.currency, '; '
        ORDER BY t.currency) AS value
    FROM (
        SELECT payment_id, currency, coalesce(sum(amount_minor) FILTER (WHERE cause = 'capture'), 0) AS captured,
            coalesce(sum(amount_minor) FILTER (WHERE cause = 'refund'), 0) AS refunded
        FROM ledger_transaction WHERE cause IN ('capture', 'refund') GROUP BY payment_id, currency
    ) t JOIN payment p ON p.id = t.payment_id GROUP BY p.order_id
"""
# Row by row first: what was booked and what was counted is one row each, of the same event.
_BOOKED = """
    SELECT p.order_id AS key, CASE t.cause WHEN 'capture' THEN 'captured ' ELSE 'refunded ' END || t.amount_minor || t.currency AS value
    FROM ledger_transaction t JOIN payment p ON p.id = t.payment_id WHERE t.cause IN ('capture', 'refund')
"""
_COUNTED = "SELECT order_id AS key, kind || ' ' || amount_minor || currency AS value FROM money_fact"
_ANALYTICS = """
    SELECT order_id AS key, string_agg(captured || ' captured, ' || refunded || ' refunded ' || t.currency, '; '
        ORDER BY t.currency) AS value
    FROM (
        SELECT order_id, currency, coalesce(sum(amount_minor) FILTER (WHERE kind = 'captured'), 0) AS captured,
            coalesce(sum(amount_minor) FILTER (WHERE kind = 'refunded'), 0) AS refunded
        FROM money_fact GROUP BY order_id, currency
    ) t GROUP BY order_id
"""


async def analytics_equal_the_ledger(books: Books) -> list[Violation]:
    """Order by order, what the analytics count is what the ledger booked."""
    different = await differences(
        Side(books[PAYMENT], _LEDGER, members=_BOOKED),
        Side(books["analytics"], _ANALYTICS, members=_COUNTED),
        ignoring=await in_motion(books, (PAYMENT, "analytics")),
    )
    return [
        Violation(
            "I8",
            f"order {order_id}",
            f"the ledger has {_said(booked)}; the analytics have {_said(counted)} (minor units)",
            "the ledger is the truth; what analytics_service.money_fact lacks is an event that it lost or counted wrongly",
        )
        for order_id, booked, counted in different
    ]


def _said(row: Record | None) -> str:
    return "nothing" if row is None else str(row["value"])
