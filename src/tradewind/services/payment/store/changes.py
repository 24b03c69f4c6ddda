"""Load payments to decide about them, and save what was decided: each one statement, however many payments."""

# ruff: noqa: S608 - only constants are formatted into statements

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec.structs import astuple

from tradewind.chassis.postgres import Statements, Tx
from tradewind.services.payment.domain.ledger import Booking
from tradewind.services.payment.domain.payment import Payment
from tradewind.services.payment.domain.settlement import Attempt, Change, Discrepancy
from tradewind.services.payment.store import rows

# Everybody locks payments in the order of their ids, and a payment before its attempt, so nobody locks anybody out for good.
_LOCK_BY_ATTEMPT = f"""
    SELECT {rows.PAYMENT}, {rows.ATTEMPT}
    FROM attempt AS a JOIN payment AS p ON p.id = a.payment_id
    WHERE a.id = ANY($1::uuid[]) ORDER BY p.id
    FOR UPDATE OF p, a
"""
_LOCK = f"SELECT {rows.PAYMENT} FROM payment AS p WHERE p.id = ANY($1::uuid[]) ORDER BY p.id FOR UPDATE"
_LATEST_ATTEMPTS = f"""
    SELECT DISTINCT ON (a.payment_id) {rows.ATTEMPT}
    FROM attempt AS a WHERE a.payment_id = ANY($1::uuid[]) ORDER BY a.payment_id, a.id DESC
"""
_COLUMNS = (
    ("payment_id", "uuid"), ("status", "text"), ("code", "text"), ("action_url", "text"), ("captured_minor", "bigint"),
    ("refunding_minor", "bigint"), ("refunded_minor", "bigint"), ("order_cancelled", "boolean"), ("version", "bigint"),
    ("attempt_id", "uuid"), ("attempt_status", "text"), ("step", "text"), ("charge_id", "text"),
    ("attempt_code", "text"), ("due_in_s", "float8"), ("cause", "text"), ("cause_id", "uuid"), ("debit", "text"), ("credit", "text"), ("booked_minor", "bigint"),
    ("booked_currency", "text"),
)  # fmt: skip
_SAVE = f"""
    WITH change AS (
        SELECT * FROM unnest({", ".join(f"${n}::{kind}[]" for n, (_, kind) in enumerate(_COLUMNS, 1))})
            AS c({", ".join(name for name, _ in _COLUMNS)})
    ), tried AS (
        UPDATE attempt AS a SET
            status = c.attempt_status, step = c.step, charge_id = c.charge_id, code = c.attempt_code,
            holder = ${len(_COLUMNS) + 1},
            due_at = now() + make_interval(secs => coalesce(
                c.due_in_s, CASE WHEN a.heard AND c.attempt_status = 'requires_action' THEN 0 END)),
            heard = false,
            settled_at = CASE
                WHEN c.attempt_status NOT IN ('processing', 'requires_action', 'authorized') THEN coalesce(a.settled_at, now())
            END
        FROM change AS c WHERE a.id = c.attempt_id
    ), booked AS (
        INSERT INTO ledger_transaction
            (cause, cause_id, payment_id, debit_account, credit_account, amount_minor, currency)
        SELECT cause, cause_id, payment_id, debit, credit, booked_minor, booked_currency
        FROM change WHERE cause IS NOT NULL
    )
    UPDATE payment AS p SET
        status = c.status, code = c.code, action_url = c.action_url, captured_minor = c.captured_minor,
        refunding_minor = c.refunding_minor, refunded_minor = c.refunded_minor, order_cancelled = c.order_cancelled,
        version = c.version, revision = p.revision + 1, updated_at = now()
    FROM change AS c
    WHERE p.id = c.payment_id
        AND (p.status, p.refunding_minor, p.order_cancelled, p.version)
            IS DISTINCT FROM (c.status, c.refunding_minor, c.order_cancelled, c.version)
"""
_INSERT_DISCREPANCIES = """
    INSERT INTO discrepancy (subject_id, payment_id, ours, theirs)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) ON CONFLICT DO NOTHING
"""
_RESOLVE = "UPDATE discrepancy SET resolved_at = now() WHERE subject_id = ANY($1::uuid[]) AND resolved_at IS NULL"


class Tried(msgspec.Struct, frozen=True):
    """A payment with an attempt at it, and the trace of its order."""

    payment: Payment
    attempt: Attempt
    traceparent: str | None


async def lock_by_attempt(tx: Tx, attempt_ids: Sequence[str]) -> list[Tried]:
    """The payments of these attempts, locked, each with that attempt."""
    found = await tx.rows(_LOCK_BY_ATTEMPT, attempt_ids)
    return [Tried(rows.payment(row), rows.attempt(row), row["traceparent"]) for row in found]


async def lock_payments(tx: Tx, payment_ids: Sequence[str]) -> list[Payment]:
    """These payments, locked; those that do not exist are left out."""
    return [rows.payment(row) for row in await tx.rows(_LOCK, payment_ids)]


async def latest_attempts(tx: Tx, payments: Sequence[Payment]) -> list[Tried]:
    """Locked payments with the latest attempt at each; one that was cancelled before it began has none and is left out.

    A statement of its own: what the lock waited for may have changed the attempts, which only a later snapshot shows.
    """
    found = {row["attempt_of"]: row for row in await tx.rows(_LATEST_ATTEMPTS, [payment.id for payment in payments])}
    return [
        Tried(payment, rows.attempt(found[payment.id]), found[payment.id]["traceparent"])
        for payment in payments
        if payment.id in found
    ]


async def find_payment_id(statements: Statements, *, order_id: str | None, payment_id: str | None) -> str | None:
    """The payment of an order, or the one with this id."""
    sql = "SELECT id::text FROM payment WHERE order_id = $1 OR id = $2"
    return await statements.value(sql, order_id, payment_id)  # type: ignore[no-any-return]


async def captured_by(tx: Tx, payment_id: str) -> tuple[str, str]:
    """The id of the charge that captured a payment, and the provider that has it."""
    [row] = await tx.rows(
        "SELECT charge_id, provider FROM attempt WHERE payment_id = $1 AND status = 'succeeded'", payment_id
    )
    return row["charge_id"], row["provider"]


async def note_discrepancies(statements: Statements, found: Sequence[Discrepancy]) -> None:
    """Write down where the provider disagrees, each once."""
    await statements.execute(_INSERT_DISCREPANCIES, *map(list, zip(*map(astuple, found), strict=True)))


async def save(tx: Tx, changes: Sequence[Change], *, holder: str) -> None:
    """Write down what was decided. What is due again is `holder`'s until then."""
    if not changes:
        return
    await tx.execute(_SAVE, *map(list, zip(*map(_values, changes), strict=True)), holder)
    found = [change.discrepancy for change in changes if change.discrepancy]
    if found:
        await note_discrepancies(tx, found)
    resolved = [change.resolves for change in changes if change.resolves]
    if resolved:
        await tx.execute(_RESOLVE, resolved)


def _values(change: Change) -> tuple[object, ...]:
    payment, attempt, booking = change.payment, change.attempt, change.booking
    return (
        payment.id,
        payment.status,
        payment.code,
        payment.action_url,
        payment.captured_minor,
        payment.refunding_minor,
        payment.refunded_minor,
        payment.order_cancelled,
        payment.version,
        *(_tried(attempt) if attempt else _NO_ATTEMPT),
        *(_booked(booking) if booking else _NO_BOOKING),
    )


def _tried(attempt: Attempt) -> tuple[object, ...]:
    return (attempt.id, attempt.status, attempt.step, attempt.charge_id, attempt.code, attempt.due_in_s)


def _booked(booking: Booking) -> tuple[object, ...]:
    amount = booking.amount
    return (
        booking.cause,
        booking.cause_id,
        booking.debit.code,
        booking.credit.code,
        amount.amount_minor,
        amount.currency,
    )


_NO_ATTEMPT = (None,) * 6
_NO_BOOKING = (None,) * 6
