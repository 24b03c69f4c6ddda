"""I11, the goods: what an order holds by the journal."""

from __future__ import annotations

from tradewind.audit.books import Books
from tradewind.audit.invariants import Violation

# Reserved while pending, sold once confirmed, none when cancelled; and what was reserved is what was ordered. Most orders have
# a line or two: reading those by their place takes a third of the time of making rows of them.
_WRONG = """
    SELECT coalesce(o.id, g.order_id)::text AS id, coalesce(o.status, 'there is no such order') AS status,
        coalesce(o.wanted, 0) AS wanted, coalesce(g.reserved, 0) AS reserved, coalesce(g.sold, 0) AS sold
    FROM (
        SELECT id, status, CASE
            WHEN jsonb_array_length(lines) <= 2
                THEN coalesce((lines -> 0 -> 'quantity')::bigint, 0) + coalesce((lines -> 1 -> 'quantity')::bigint, 0)
            ELSE (SELECT sum((line ->> 'quantity')::bigint) FROM jsonb_array_elements(lines) AS line)
            END AS wanted
        FROM orders
    ) o
    FULL JOIN (
        SELECT order_id,
            sum(CASE kind WHEN 'reserve' THEN quantity WHEN 'release' THEN -quantity WHEN 'sell' THEN -quantity
                ELSE 0 END) AS reserved,
            sum(CASE kind WHEN 'sell' THEN quantity WHEN 'return' THEN -quantity ELSE 0 END) AS sold
        FROM stock_movement WHERE order_id IS NOT NULL GROUP BY order_id
    ) g ON g.order_id = o.id
    WHERE coalesce(g.reserved, 0) <> CASE o.status WHEN 'pending' THEN o.wanted ELSE 0 END
        OR coalesce(g.sold, 0) <> CASE WHEN o.status IN ('confirmed', 'shipped', 'delivered') THEN o.wanted ELSE 0 END
"""


async def orders_hold_their_goods(books: Books) -> list[Violation]:
    """A pending order has its goods reserved, one that is paid has them sold, a cancelled one has none."""
    return [
        Violation(
            "I11",
            f"order {row['id']}",
            f"{row['status']}: it has {row['reserved']} reserved and {row['sold']} sold of {row['wanted']}",
            "order_service.stock_movement has what its goods did; book back by hand what it should not hold",
        )
        for row in await books["order"].rows(_WRONG)
    ]
