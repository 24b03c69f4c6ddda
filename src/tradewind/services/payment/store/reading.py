"""What the doors show of payments."""

# ruff: noqa: S608 - only constants are formatted into statements

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from tradewind.chassis.postgres import Record, Statements
from tradewind.services.payment.domain.payment import Payment
from tradewind.services.payment.domain.refund import Refund
from tradewind.services.payment.domain.settlement import Attempt
from tradewind.services.payment.store import rows

_SELECT = f"SELECT {rows.PAYMENT}, p.created_at, p.updated_at FROM payment AS p"
_BY_ID = f"{_SELECT} WHERE p.id = $1"
_BY_ORDER = f"{_SELECT} WHERE p.order_id = $1"
_OF_CUSTOMER = f"{_SELECT} WHERE p.customer_id = $1 AND p.id < $2 ORDER BY p.id DESC LIMIT $3"
_REFUNDS = f"SELECT {rows.REFUND}, r.created_at FROM refund AS r WHERE r.payment_id = ANY($1::uuid[]) ORDER BY r.id"
_ATTEMPTS = f"SELECT {rows.ATTEMPT}, a.created_at FROM attempt AS a WHERE a.payment_id = ANY($1::uuid[]) ORDER BY a.id"
_FIRST = "ffffffff-ffff-ffff-ffff-ffffffffffff"

# Ours beside theirs: what nobody has answered for 2 s, and what was answered with something else than we asked for.
_OPEN = """
    WITH open AS (
        SELECT 'unknown_charge' AS kind, a.id, a.payment_id, a.created_at AS since, a.step AS ours, NULL AS theirs, a.looks,
            NULL::timestamptz AS resolved_at
        FROM attempt AS a WHERE a.status IN ('processing', 'authorized') AND a.created_at < now() - interval '2 seconds'
        UNION ALL
        SELECT 'unknown_refund', r.id, r.payment_id, r.created_at, r.amount_minor::text, r.code, r.looks, NULL
        FROM refund AS r WHERE r.status = 'pending' AND r.created_at < now() - interval '2 seconds'
        UNION ALL
        SELECT 'mismatch', d.subject_id, d.payment_id, d.found_at, d.ours, d.theirs, 0, d.resolved_at FROM discrepancy AS d
    )
    SELECT open.kind, open.id::text, open.payment_id::text, p.order_id::text, open.since, open.ours, open.theirs, open.looks,
        open.resolved_at
    FROM open JOIN payment AS p ON p.id = open.payment_id
    WHERE (open.since, open.id) < ($1, $2::uuid) ORDER BY open.since DESC, open.id DESC LIMIT $3
"""


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A payment as it is shown: with its attempts, its refunds and its times."""

    payment: Payment
    attempts: Sequence[ShownAttempt]
    refunds: Sequence[ShownRefund]
    created_at: datetime
    updated_at: datetime


class ShownAttempt(msgspec.Struct, frozen=True):
    """An attempt, and since when."""

    attempt: Attempt
    created_at: datetime


class ShownRefund(msgspec.Struct, frozen=True):
    """A refund, and since when."""

    refund: Refund
    created_at: datetime


class OpenQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """Something we and the provider do not agree about, or not yet."""

    kind: str
    id: str
    payment_id: str
    order_id: str
    since: datetime
    ours: str
    theirs: str | None
    looks: int
    resolved_at: datetime | None


async def find_payment(statements: Statements, payment_id: str) -> Shown | None:
    """A payment."""
    found = await _shown(statements, await statements.rows(_BY_ID, payment_id))
    return found[0] if found else None


async def find_payment_of_order(statements: Statements, order_id: str) -> Shown | None:
    """The payment of an order."""
    found = await _shown(statements, await statements.rows(_BY_ORDER, order_id))
    return found[0] if found else None


async def list_payments(statements: Statements, customer_id: str, *, before: str | None, limit: int) -> list[Shown]:
    """A customer's payments, newest first, those older than the id `before`."""
    return await _shown(statements, await statements.rows(_OF_CUSTOMER, customer_id, before or _FIRST, limit))


async def list_open_questions(
    statements: Statements, *, before: tuple[datetime, str], limit: int
) -> list[OpenQuestion]:
    """Unknown outcomes and mismatches, newest first, those before (time, id)."""
    found = await statements.rows(_OPEN, *before, limit)
    return [OpenQuestion(**dict(row)) for row in found]


async def _shown(statements: Statements, found: Sequence[Record]) -> list[Shown]:
    attempts: dict[str, list[ShownAttempt]] = {row["payment_id"]: [] for row in found}
    refunds: dict[str, list[ShownRefund]] = {row["payment_id"]: [] for row in found}
    if found:
        for row in await statements.rows(_ATTEMPTS, list(attempts)):
            attempts[row["attempt_of"]].append(ShownAttempt(rows.attempt(row), row["created_at"]))
    if any(row["captured_minor"] for row in found):
        for row in await statements.rows(_REFUNDS, list(refunds)):
            refunds[row["refund_of"]].append(ShownRefund(rows.refund(row), row["created_at"]))
    return [
        Shown(
            payment=rows.payment(row),
            attempts=attempts[row["payment_id"]],
            refunds=refunds[row["payment_id"]],
            created_at=row["created_at"],
            updated_at=row["updated_at"],
        )
        for row in found
    ]
