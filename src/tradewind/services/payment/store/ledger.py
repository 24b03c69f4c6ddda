"""The books, to be read. They are written with the change that is booked: see `changes`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from tradewind.chassis.postgres import Statements
from tradewind.services.payment.domain.period import END, Period

_TOTALS = """
    SELECT a.code, a.kind, a.meaning, e.currency,
        coalesce(sum(e.amount_minor) FILTER (WHERE e.amount_minor > 0), 0)::bigint AS debit_minor,
        coalesce(-sum(e.amount_minor) FILTER (WHERE e.amount_minor < 0), 0)::bigint AS credit_minor
    FROM ledger_account AS a LEFT JOIN ledger_entry AS e ON e.account = a.code AND e.booked_at < $1
    GROUP BY a.code, a.kind, a.meaning, e.currency ORDER BY a.code, e.currency
"""
_ENTRIES = """
    SELECT transaction_id, line, account, amount_minor, currency, cause, cause_id::text, payment_id::text, booked_at
    FROM ledger_entry
    WHERE (transaction_id, line) < ($1, $2) AND ($3::text IS NULL OR account = $3) AND ($4::uuid IS NULL OR payment_id = $4)
    ORDER BY transaction_id DESC, line DESC LIMIT $5
"""

# One statement is one snapshot: opening, lines and closing are of the same moment. `before` is the balance in front of this page.
_STATEMENT = """
    WITH e AS (
        SELECT transaction_id, amount_minor, cause, cause_id::text, payment_id::text, booked_at
        FROM ledger_entry WHERE account = $1 AND currency = $2 AND booked_at < $4
    ), sums AS (
        SELECT coalesce(sum(amount_minor) FILTER (WHERE booked_at < $3), 0)::bigint AS opening_minor,
            coalesce(sum(amount_minor) FILTER (WHERE booked_at >= $3 AND amount_minor > 0), 0)::bigint AS debit_minor,
            coalesce(-sum(amount_minor) FILTER (WHERE booked_at >= $3 AND amount_minor < 0), 0)::bigint AS credit_minor,
            coalesce(sum(amount_minor) FILTER (
                WHERE booked_at < $3 OR (booked_at, transaction_id) <= ($5, $6)), 0)::bigint AS before_minor
        FROM e
    )
    SELECT sums.*, page.* FROM sums LEFT JOIN LATERAL (
        SELECT * FROM e WHERE booked_at >= greatest($3, $5) AND (booked_at, transaction_id) > ($5, $6)
        ORDER BY booked_at, transaction_id LIMIT $7
    ) AS page ON true
    ORDER BY page.booked_at, page.transaction_id
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


class StatementLine(msgspec.Struct, frozen=True, kw_only=True):
    """What was booked to an account, debits positive, and the sum of all entries up to and with it."""

    transaction_id: int
    amount_minor: int
    sum_minor: int
    cause: str
    cause_id: str
    payment_id: str
    booked_at: datetime


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """An account in a period: sums of entries, debits positive, before it and in it, and a page of its lines."""

    opening_minor: int
    debit_minor: int
    credit_minor: int
    lines: Sequence[StatementLine]


async def list_totals(statements: Statements, *, before: datetime = END) -> Sequence[AccountTotals]:
    """The sums of every account and currency, of what was booked before a moment."""
    return [AccountTotals(**dict(row)) for row in await statements.rows(_TOTALS, before)]


async def find_statement(
    statements: Statements, account: str, currency: str, period: Period, *, after: tuple[datetime, int], limit: int
) -> Statement:
    """The sums of an account in a period, and lines in the order they were booked, those after (time, transaction id)."""
    found = await statements.rows(_STATEMENT, account, currency, period.start, period.end, *after, limit)
    first = found[0]
    sum_minor, lines = first["before_minor"], list[StatementLine]()
    for row in found if first["transaction_id"] is not None else ():
        sum_minor += row["amount_minor"]
        lines.append(
            StatementLine(
                transaction_id=row["transaction_id"],
                amount_minor=row["amount_minor"],
                sum_minor=sum_minor,
                cause=row["cause"],
                cause_id=row["cause_id"],
                payment_id=row["payment_id"],
                booked_at=row["booked_at"],
            )
        )
    return Statement(
        opening_minor=first["opening_minor"],
        debit_minor=first["debit_minor"],
        credit_minor=first["credit_minor"],
        lines=lines,
    )


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
