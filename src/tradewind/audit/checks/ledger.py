"""I1: the ledger."""

from __future__ import annotations

from tradewind.audit.invariants import Violation
from tradewind.audit.sources import Books

_UNBALANCED = """
    SELECT transaction_id, currency, sum(amount_minor) AS sum FROM ledger_entry
    GROUP BY transaction_id, currency HAVING sum(amount_minor) <> 0
"""
# A transaction is one row with two sides; one that takes from an account and gives to the same would sum to zero as well.
_ONE_SIDED = (
    "SELECT id, debit_account FROM ledger_transaction WHERE debit_account = credit_account OR amount_minor <= 0"
)


async def sums_to_zero(books: Books) -> list[Violation]:
    """Every transaction moves an amount from one account to another, and sums to zero in its currency."""
    found = [
        Violation("I1", f"ledger transaction {row['transaction_id']}", f"sums to {row['sum']} {row['currency']}")
        for row in await books["payment"].rows(_UNBALANCED)
    ]
    found += [
        Violation("I1", f"ledger transaction {row['id']}", f"moves nothing: both sides are {row['debit_account']}")
        for row in await books["payment"].rows(_ONE_SIDED)
    ]
    return found
