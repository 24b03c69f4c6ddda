"""I6: stock."""

from __future__ import annotations

from tradewind.audit.invariants import Violation
from tradewind.audit.sources import Books

# The journal replayed: what each kind of movement adds to each of the three heaps.
_WRONG = """
    SELECT s.sku, s.available, s.reserved, s.sold, j.available AS av, j.reserved AS re, j.sold AS so
    FROM stock s LEFT JOIN (
        SELECT sku,
            sum(CASE kind WHEN 'initial' THEN quantity WHEN 'delta' THEN quantity WHEN 'reserve' THEN -quantity
                WHEN 'release' THEN quantity WHEN 'return' THEN quantity ELSE 0 END)::bigint AS available,
            sum(CASE kind WHEN 'reserve' THEN quantity WHEN 'release' THEN -quantity WHEN 'sell' THEN -quantity
                ELSE 0 END)::bigint AS reserved,
            sum(CASE kind WHEN 'sell' THEN quantity WHEN 'return' THEN -quantity ELSE 0 END)::bigint AS sold
        FROM stock_movement GROUP BY sku
    ) j USING (sku)
    WHERE s.available < 0 OR s.reserved < 0 OR s.sold < 0
        OR (s.available, s.reserved, s.sold) IS DISTINCT FROM (j.available, j.reserved, j.sold)
"""


async def adds_up(books: Books) -> list[Violation]:
    """No heap is negative, and each is what the journal makes it."""
    return [
        Violation(
            "I6",
            f"sku {row['sku']}",
            f"available {row['available']}, reserved {row['reserved']}, sold {row['sold']};"
            f" by the journal {row['av']}, {row['re']}, {row['so']}",
        )
        for row in await books["order"].rows(_WRONG)
    ]
