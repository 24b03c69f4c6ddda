"""Moving goods: one piece of SQL that every statement which moves any begins with.

    WITH <MOVE>, placed AS (INSERT ...) <MOVED>

It takes the arguments $1 to $9 that `arguments` makes, adds to the three heaps of each SKU, and writes the journal. The
rows of `stock` are locked in the order of their SKUs, so that two orders for the same goods wait and never deadlock. A
SKU with too few pieces is not moved, which `short` reads from what `MOVED` returns; the caller then has to roll back.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tradewind.chassis.postgres import Record
from tradewind.services.order.domain.stock import Movement, shifts

ARGUMENTS = 9

MOVE = """
    shift AS (
        SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[]) AS s (sku, available, reserved, sold)
    ), locked AS MATERIALIZED (
        SELECT sku, available FROM stock WHERE sku = ANY($1) ORDER BY sku FOR NO KEY UPDATE
    ), moved AS (
        UPDATE stock
        SET available = stock.available + shift.available,
            reserved = stock.reserved + shift.reserved,
            sold = stock.sold + shift.sold
        FROM locked JOIN shift USING (sku)
        WHERE stock.sku = locked.sku AND stock.available + shift.available >= 0
        RETURNING stock.sku
    ), journal AS (
        INSERT INTO stock_movement (sku, kind, quantity, order_id, at)
        SELECT sku, kind, quantity, order_id, $9
        FROM unnest($5::text[], $6::text[], $7::bigint[], $8::uuid[]) AS m (sku, kind, quantity, order_id)
    )
"""

MOVED = "SELECT sku, available, moved.sku IS NOT NULL AS moved FROM locked LEFT JOIN moved USING (sku)"


def arguments(movements: Sequence[Movement], at: datetime) -> list[Any]:
    """$1 to $9 of `MOVE`."""
    sums = shifts(movements)
    return [
        list(sums),
        [shift.available for shift in sums.values()],
        [shift.reserved for shift in sums.values()],
        [shift.sold for shift in sums.values()],
        [move.sku for move in movements],
        [move.kind for move in movements],
        [move.quantity for move in movements],
        [move.order_id for move in movements],
        at,
    ]


def short(rows: Sequence[Record]) -> dict[str, int]:
    """SKUs that had too few pieces, and how many each has."""
    return {row["sku"]: row["available"] for row in rows if not row["moved"]}
