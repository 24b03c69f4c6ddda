"""The books, to be read. They are written with the change that is booked: see `changes`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from tradewind.chassis.postgres import Statements

_TOTALS = """
    SELECT a.code, a.kind, a.meaning, e.currency,
        coalesce(sum(e.amount_minor) FILTER (WHERE e.amount_minor > 0), 0)::bigint AS debit_minor,
        coalesce(-sum(e.amount_minor) FILTER (WHERE e.amount_minor < 0), 0)::bigint AS credit_minor
    FROM ledger_account AS a LEFT JOIN ledger_entry AS e ON e.account = a.code
    GROUP BY a.code, a.kind, a.meaning, e.currency ORDER BY a.code, e.currency
"""
_ENTRIES = """
    SELECT transaction_id, line, account, amount_minor, currency, cause, cause_id::text, payment_id::text, booked_at
    FROM ledger_entry
    WHERE (transaction_id, line) < ($1, $2) AND ($3::text IS NULL OR account = $3) AND ($4::uuid IS NULL OR payment_id = $4)
    ORDER BY transaction_id DESC, line DESC LIMIT $5
"""


class AccountTotals(msgspec.Struct, frozen=True, kw_only=True):
    """An account's sums in one currency; `currency` is None for an account nothing was booked to."""

    code: str
    kind: str
    meaning: str
    currency: str | None
    debit_minor: int
    credit_minor: int


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two lines of a ledger transaction: debits positive, credits negative."""

    transaction_id: int
    line: int
    account: str
    amount_minor: int
    currency: str
    cause: str
    cause_id: str
    payment_id: str
    booked_at: datetime


async def list_totals(statements: Statements) -> Sequence[AccountTotals]:
    """The sums of every account and currency."""
    return [AccountTotals(**dict(row)) for row in await statements.rows(_TOTALS)]


async def list_entries(
    statements: Statements,
    *,
    before: tuple[int, int],
    account: str | None,
    payment_id: str | None,
    limit: int,
) -> Sequence[Entry]:
    """Entries, newest first, those before (transaction id, line)."""
    found = await statements.rows(_ENTRIES, *before, account, payment_id, limit)
    return [Entry(**dict(row)) for row in found]
