"""I11: what an order says, what its payment says, and what its goods say."""

from __future__ import annotations

from datetime import timedelta

from tradewind.audit.invariants import Violation
from tradewind.audit.sources import Books

# Settled before the audit began; younger changes may not have arrived on the other side, and are the next audit's.
_MARGIN = timedelta(seconds=1)

_ORDERS = """
    SELECT id::text, status, total_minor, refunded_minor, currency FROM orders WHERE updated_at < $1 AND status <> 'pending'
"""
_PAYMENTS = """
    SELECT order_id::text, captured_minor, refunded_minor, currency FROM payment WHERE updated_at < $1
"""
_TOUCHED_SINCE = "SELECT order_id::text FROM payment WHERE updated_at >= $1"
# An order's goods by the journal: reserved while pending, sold once confirmed, none when cancelled.
_GOODS = """
    SELECT o.id::text, o.status, g.reserved, g.sold, g.wanted FROM orders o JOIN (
        SELECT order_id,
            sum(CASE kind WHEN 'reserve' THEN quantity WHEN 'release' THEN -quantity WHEN 'sell' THEN -quantity
                ELSE 0 END)::bigint AS reserved,
            sum(CASE kind WHEN 'sell' THEN quantity WHEN 'return' THEN -quantity ELSE 0 END)::bigint AS sold,
            sum(CASE kind WHEN 'reserve' THEN quantity ELSE 0 END)::bigint AS wanted
        FROM stock_movement WHERE order_id IS NOT NULL GROUP BY order_id
    ) g ON g.order_id = o.id
    WHERE (g.reserved, g.sold) <> (CASE o.status WHEN 'pending' THEN g.wanted ELSE 0 END,
        CASE WHEN o.status IN ('pending', 'cancelled') THEN 0 ELSE g.wanted END)
"""


async def money_and_goods_match(books: Books) -> list[Violation]:
    """Captured less refunded is the total less what was granted back; a cancelled order holds no money and no goods."""
    until = books.began_at - _MARGIN
    payments = {row["order_id"]: row for row in await books["payment"].rows(_PAYMENTS, until)}
    moving = {row["order_id"] for row in await books["payment"].rows(_TOUCHED_SINCE, until)}
    found: list[Violation] = []
    for order in await books["order"].rows(_ORDERS, until):
        if order["id"] in moving:
            continue
        payment = payments.get(order["id"])
        kept = payment["captured_minor"] - payment["refunded_minor"] if payment else 0
        due = 0 if order["status"] == "cancelled" else order["total_minor"] - order["refunded_minor"]
        if kept != due:
            found.append(
                Violation(
                    "I11", f"order {order['id']}", f"{order['status']}: its payment holds {kept}, it should hold {due}"
                )
            )
    found += [
        Violation(
            "I11",
            f"order {row['id']}",
            f"{row['status']}: reserves {row['reserved']}, sold {row['sold']} of {row['wanted']}",
        )
        for row in await books["order"].rows(_GOODS)
    ]
    return found
