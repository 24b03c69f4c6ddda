"""I2: payments, by our books and by the provider's."""

from __future__ import annotations

from collections import defaultdict

from tradewind.audit.invariants import Violation
from tradewind.audit.sources import Books, Charge

_TWICE = """
    SELECT order_id, count(*) AS n FROM payment WHERE captured_minor > 0 GROUP BY order_id HAVING count(*) > 1
"""
_BEYOND = """
    SELECT id, amount_minor, captured_minor, refunded_minor FROM payment
    WHERE captured_minor > amount_minor OR refunded_minor > captured_minor OR refunded_minor < 0
"""
# What a payment says of itself against what was booked for it.
_NOT_AS_BOOKED = """
    SELECT coalesce(p.id, b.payment_id) AS id, coalesce(p.captured_minor, 0) AS captured,
        coalesce(p.refunded_minor, 0) AS refunded, coalesce(b.captured, 0) AS booked, coalesce(b.refunded, 0) AS given_back
    FROM (SELECT id, captured_minor, refunded_minor FROM payment WHERE captured_minor > 0) p
    FULL JOIN (
        SELECT payment_id, sum(amount_minor) FILTER (WHERE cause = 'capture') AS captured,
            sum(amount_minor) FILTER (WHERE cause = 'refund') AS refunded
        FROM ledger_transaction WHERE cause IN ('capture', 'refund') GROUP BY payment_id
    ) b ON b.payment_id = p.id
    WHERE coalesce(p.captured_minor, 0) <> coalesce(b.captured, 0)
        OR coalesce(p.refunded_minor, 0) <> coalesce(b.refunded, 0)
"""
_CAPTURED = "SELECT id, order_id, captured_minor, refunded_minor, currency FROM payment WHERE captured_minor > 0"


async def captured_once_in_our_books(books: Books) -> list[Violation]:
    """One captured payment an order at most, never more back than came in, and the ledger says the same."""
    look = books["payment"]
    found = [
        Violation("I2", f"order {row['order_id']}", f"{row['n']} payments are captured")
        for row in await look.rows(_TWICE)
    ]
    found += [
        Violation(
            "I2",
            f"payment {row['id']}",
            f"authorized {row['amount_minor']}, captured {row['captured_minor']}, refunded {row['refunded_minor']}",
        )
        for row in await look.rows(_BEYOND)
    ]
    found += [
        Violation(
            "I2",
            f"payment {row['id']}",
            f"captured {row['captured']} and refunded {row['refunded']},"
            f" but the ledger has {row['booked']} and {row['given_back']}",
        )
        for row in await look.rows(_NOT_AS_BOOKED)
    ]
    return found


async def captured_once_at_the_provider(books: Books) -> list[Violation]:
    """The provider took money once for an order at most, and as much as we think."""
    if books.charges is None:
        return []
    by_order: dict[str, list[Charge]] = defaultdict(list)
    for charge in books.charges:
        by_order[charge.order_id].append(charge)
    ours = {str(row["order_id"]): row for row in await books["payment"].rows(_CAPTURED)}
    found: list[Violation] = []
    for order_id, charges in by_order.items():
        kept = [charge for charge in charges if charge.captured_minor > charge.refunded_minor]
        if len(kept) > 1:
            found.append(Violation("I2", f"order {order_id}", f"the provider charged {len(kept)} times"))
    for order_id, row in ours.items():
        theirs = sum(charge.captured_minor for charge in by_order.get(order_id, ()))
        if theirs < row["captured_minor"]:
            found.append(
                Violation("I2", f"order {order_id}", f"we captured {row['captured_minor']}, the provider {theirs}")
            )
    return found
