"""I1: the ledger, and the chain of hashes over it."""

# ruff: noqa: S608 - only constants are formatted into statements

from __future__ import annotations

from collections.abc import Iterator

from tradewind.audit.books import PAYMENT, Books
from tradewind.audit.invariants import Violation
from tradewind.chassis.postgres import Record
from tradewind.services.payment.store.seals import GENESIS, HASH

# Weighed by its number, no transaction's remainder can hide behind another's: where the weighed sums are zero each transaction
# is, and a million groups need not be made.
_ANY_UNBALANCED = """
    SELECT currency FROM ledger_entry GROUP BY currency
    HAVING sum(amount_minor::numeric * (1 + (hashint8extended(transaction_id, 0) & 1073741823))) <> 0
        OR sum(amount_minor::numeric * (1 + (hashint8extended(transaction_id, 1) & 1073741823))) <> 0
"""
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
# Every block again: from its rows as they are now and from the block before it. A row below the first block is in none.
_BROKEN = f"""
    SELECT sealed.*, found.transactions AS found, found.hash AS found_hash,
        coalesce(last_number, 0) + 1 AS due_number, coalesce(last_to_id, 0) + 1 AS due_from_id,
        coalesce(last_hash, '{GENESIS}') AS due_previous_hash
    FROM (
        SELECT number, from_id, to_id, transactions, previous_hash, hash, lag(number) OVER chain AS last_number,
            lag(to_id) OVER chain AS last_to_id, lag(hash) OVER chain AS last_hash
        FROM ledger_seal WINDOW chain AS (ORDER BY number)
    ) AS sealed
    CROSS JOIN LATERAL (
        SELECT count(t.id) AS transactions, {HASH} AS hash FROM ledger_transaction AS t
        WHERE t.id BETWEEN sealed.from_id AND sealed.to_id
    ) AS found
    WHERE (sealed.number, sealed.from_id, sealed.previous_hash, sealed.transactions, sealed.hash) IS DISTINCT FROM (
        coalesce(last_number, 0) + 1, coalesce(last_to_id, 0) + 1, coalesce(last_hash, '{GENESIS}'),
        found.transactions, found.hash)
    ORDER BY sealed.number
"""
_BEFORE_THE_FIRST = "SELECT min(id) AS id, count(*) AS n FROM ledger_transaction WHERE id < 1 HAVING count(*) > 0"


async def sums_to_zero(books: Books) -> list[Violation]:
    """Every transaction moves an amount from one account of the chart to another, and sums to zero in its currency."""
    look = books[PAYMENT]
    found = [
        _breach(row["transaction_id"], f"sums to {row['sum']} {row['currency']}")
        for row in (await look.rows(_UNBALANCED) if await look.rows(_ANY_UNBALANCED) else [])
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


async def seals_hold(books: Books) -> list[Violation]:
    """No transaction of a sealed block was changed, removed or inserted since, and no seal."""
    look = books[PAYMENT]
    found = [
        Violation(
            "I1",
            f"ledger seal {row['number']}",
            f"transactions {row['from_id']} to {row['to_id']}: {', '.join(_what_broke(row))}",
            "compare these transactions, and the seals, with a backup from before; GET /v1/payments/reconciliation",
        )
        for row in await look.rows(_BROKEN)
    ]
    found += [
        _breach(row["id"], f"is the first of {row['n']} that stand before the first block that was sealed")
        for row in await look.rows(_BEFORE_THE_FIRST)
    ]
    return found


def _what_broke(row: Record) -> Iterator[str]:
    """What of a block is not as it was sealed."""
    if (row["number"], row["from_id"]) != (row["due_number"], row["due_from_id"]):
        yield f"the seal before it is missing: it should be number {row['due_number']} from {row['due_from_id']}"
    if row["previous_hash"] != row["due_previous_hash"]:
        yield "it does not follow from the seal before it"
    if row["found"] > row["transactions"]:
        yield f"{row['transactions']} were sealed and there are {row['found']}: some were inserted"
    elif row["found"] < row["transactions"]:
        yield f"{row['transactions']} were sealed and there are {row['found']}: some were removed"
    elif row["found_hash"] != row["hash"]:
        yield "a transaction, or the seal itself, was changed"


def _breach(transaction_id: int, detail: str) -> Violation:
    return Violation(
        "I1",
        f"ledger transaction {transaction_id}",
        detail,
        "payment_service.ledger_transaction refuses such a row: who took its constraints away? Book the opposite",
    )
