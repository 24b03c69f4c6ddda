"""I2, our half: payments, against themselves, their refunds and the ledger."""

from __future__ import annotations

from tradewind.audit.books import PAYMENT, Books
from tradewind.audit.invariants import Violation

_TWICE = """
    SELECT order_id, count(*) AS n, sum(captured_minor) AS captured FROM payment WHERE captured_minor > 0
    GROUP BY order_id HAVING count(*) > 1
"""
_BEYOND = """
    SELECT id, amount_minor, captured_minor, refunded_minor, refunding_minor FROM payment
    WHERE captured_minor > amount_minor OR refunded_minor + refunding_minor > captured_minor
        OR least(captured_minor, refunded_minor, refunding_minor) < 0
"""
# What a payment says of itself against what was booked for it; a capture is booked once.
_NOT_AS_BOOKED = """
    SELECT coalesce(p.id, b.payment_id) AS id, coalesce(p.captured_minor, 0) AS captured,
        coalesce(p.refunded_minor, 0) AS refunded, coalesce(b.captured, 0) AS booked,
        coalesce(b.refunded, 0) AS booked_back, coalesce(b.captures, 0) AS captures
    FROM (SELECT id, captured_minor, refunded_minor, currency FROM payment WHERE captured_minor > 0) p
    FULL JOIN (
        SELECT payment_id, currency, sum(amount_minor) FILTER (WHERE cause = 'capture') AS captured,
            sum(amount_minor) FILTER (WHERE cause = 'refund') AS refunded,
            count(*) FILTER (WHERE cause = 'capture') AS captures
        FROM ledger_transaction WHERE cause IN ('capture', 'refund') GROUP BY payment_id, currency
    ) b ON b.payment_id = p.id AND b.currency = p.currency
    WHERE coalesce(p.captured_minor, 0) <> coalesce(b.captured, 0)
        OR coalesce(p.refunded_minor, 0) <> coalesce(b.refunded, 0) OR b.captures <> 1
"""
# Money we had not asked for stands in suspense until it is undone; while that is due, it is under way. What is not of an attempt's own
# charge is of one that nobody wants, which the comparison with the provider's list gives back.
_IN_SUSPENSE = """
    SELECT t.payment_id, t.currency, sum(CASE t.cause WHEN 'mismatch' THEN amount_minor ELSE -amount_minor END) AS held,
        EXISTS (SELECT FROM attempt a WHERE a.id = t.cause_id) AS of_attempt
    FROM ledger_transaction t WHERE t.cause IN ('mismatch', 'mismatch_undone')
        AND NOT EXISTS (SELECT FROM attempt a WHERE a.id = t.cause_id AND a.due_at IS NOT NULL)
    GROUP BY t.cause_id, t.payment_id, t.currency
    HAVING sum(CASE t.cause WHEN 'mismatch' THEN amount_minor ELSE -amount_minor END) <> 0
"""


async def captured_once_in_our_books(books: Books) -> list[Violation]:
    """One captured payment an order at most, never more back than came in, and the ledger says the same."""
    look = books[PAYMENT]
    found = [
        Violation(
            "I2",
            f"order {row['order_id']}",
            f"{row['n']} payments are captured, {row['captured']} in all",
            f"GET /v1/payments?order_id={row['order_id']}; refund the one the order does not name",
        )
        for row in await look.rows(_TWICE)
    ]
    found += [
        _breach(
            row["id"],
            f"authorized {row['amount_minor']}, captured {row['captured_minor']}, refunded {row['refunded_minor']},"
            f" being refunded {row['refunding_minor']}",
        )
        for row in await look.rows(_BEYOND)
    ]
    found += [
        _breach(
            row["id"],
            f"captured {row['captured']} and refunded {row['refunded']}, but the ledger has {row['booked']}"
            f" in {row['captures']} captures and {row['booked_back']} back",
        )
        for row in await look.rows(_NOT_AS_BOOKED)
    ]
    found += [
        _breach(row["payment_id"], f"suspense holds {row['held']} {row['currency']}, and nobody is undoing it")
        if row["of_attempt"]
        else Violation(
            "I2",
            f"payment {row['payment_id']}",
            f"suspense holds {row['held']} {row['currency']} of a charge that nobody wants",
            "GET /v1/payments/reconciliation; the comparison with the provider's list gives it back, within the hour",
        )
        for row in await look.rows(_IN_SUSPENSE)
    ]
    return found


def _breach(payment_id: object, detail: str) -> Violation:
    return Violation(
        "I2",
        f"payment {payment_id}",
        detail,
        "payment_service.ledger_transaction of this payment is the truth, and append-only; mend the payment's row",
    )
