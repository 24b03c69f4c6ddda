"""I1: the ledger."""

from __future__ import annotations

from tradewind.audit.books import PAYMENT, Books
from tradewind.audit.invariants import Violation

_UNBALANCED = """
    SELECT transaction_id, currency, sum(amount_minor) AS sum FROM ledger_entry
    GROUP BY transaction_id, currency HAVING sum(amount_minor) <> 0
"""
# A transaction is one row with two sides; one that gives to the account it takes from would sum to zero as well.
_MOVES_NOTHING = """
    SELECT id, debit_account, credit_account, amount_minor FROM ledger_transaction
    WHERE debit_account = credit_account OR amount_minor <= 0
"""
_OFF_THE_CHART = """
    SELECT account, count(*) AS n, min(transaction_id) AS first FROM ledger_entry
    WHERE account NOT IN (SELECT code FROM ledger_account) GROUP BY account
"""


async def sums_to_zero(books: Books) -> list[Violation]:
    """Every transaction moves an amount from one account of the chart to another, and sums to zero in its currency."""
    look = books[PAYMENT]
    found = [
        _breach(row["transaction_id"], f"sums to {row['sum']} {row['currency']}")
        for row in await look.rows(_UNBALANCED)
    ]
    found += [
        _breach(
            row["id"], f"moves nothing: {row['amount_minor']} from {row['credit_account']} to {row['debit_account']}"
        )
        for row in await look.rows(_MOVES_NOTHING)
    ]
    found += [
        _breach(row["first"], f"is the first of {row['n']} entries of {row['account']}, which the chart does not have")
        for row in await look.rows(_OFF_THE_CHART)
    ]
    return found


def _breach(transaction_id: int, detail: str) -> Violation:
    return Violation(
        "I1",
        f"ledger transaction {transaction_id}",
        detail,
        "payment_service.ledger_transaction refuses such a row: who took its constraints away? Book the opposite",
    )
