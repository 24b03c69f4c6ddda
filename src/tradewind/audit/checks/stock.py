"""I6: stock."""

from __future__ import annotations

from tradewind.audit.books import Books
from tradewind.audit.invariants import Violation

# The journal replayed: what each kind of movement adds to each of the three heaps.
_WRONG = """
    SELECT sku, s.available, s.reserved, s.sold,
        coalesce(j.available, 0) AS by_available, coalesce(j.reserved, 0) AS by_reserved, coalesce(j.sold, 0) AS by_sold
    FROM (
        SELECT sku, stock.available, stock.reserved, stock.sold FROM product FULL JOIN stock USING (sku)
    ) s
    FULL JOIN (
        SELECT sku,
            sum(CASE kind WHEN 'initial' THEN quantity WHEN 'delta' THEN quantity WHEN 'reserve' THEN -quantity
                WHEN 'release' THEN quantity WHEN 'return' THEN quantity ELSE 0 END) AS available,
            sum(CASE kind WHEN 'reserve' THEN quantity WHEN 'release' THEN -quantity WHEN 'sell' THEN -quantity
                ELSE 0 END) AS reserved,
            sum(CASE kind WHEN 'sell' THEN quantity WHEN 'return' THEN -quantity ELSE 0 END) AS sold
        FROM stock_movement GROUP BY sku
    ) j USING (sku)
    WHERE least(s.available, s.reserved, s.sold) < 0
        OR (s.available, s.reserved, s.sold)
            IS DISTINCT FROM (coalesce(j.available, 0), coalesce(j.reserved, 0), coalesce(j.sold, 0))
"""


async def adds_up(books: Books) -> list[Violation]:
    """No heap is negative, and each is what the journal makes it."""
    return [
        Violation(
            "I6",
            f"sku {row['sku']}",
            f"available {row['available']}, reserved {row['reserved']}, sold {row['sold']};"
            f" by the journal {row['by_available']}, {row['by_reserved']}, {row['by_sold']}",
            "order_service: compare stock_movement of this sku with a count of the shelf, then POST the delta",
        )
        for row in await books["order"].rows(_WRONG)
    ]
