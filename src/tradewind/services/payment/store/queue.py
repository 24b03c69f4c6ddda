"""What is to be taken up: attempts and refunds whose `due_at` has come.

Taking a row moves its `due_at` on by a lease, so nobody else takes it meanwhile, and somebody does if we are killed. What was
begun at another provider is left to whoever speaks to that one: it is the only one that knows.
"""

# ruff: noqa: S608 - only constants are formatted into statements

from __future__ import annotations

from tradewind.chassis.postgres import Database, Record
from tradewind.contracts.money import Money
from tradewind.services.payment.domain.work import ChargeWork, RefundWork
from tradewind.services.payment.store import rows

_CLAIM_ATTEMPTS = f"""
    WITH due AS (
        SELECT id FROM attempt WHERE due_at <= now() AND provider = $4 ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
    ), a AS (
        UPDATE attempt SET due_at = now() + make_interval(secs => $2), holder = $3, looks = looks + 1, heard = false
        FROM due WHERE attempt.id = due.id
        RETURNING attempt.*
    )
    SELECT {rows.PAYMENT}, {rows.ATTEMPT}, extract(epoch FROM now() - a.created_at)::float8 AS age_s
    FROM a JOIN payment AS p ON p.id = a.payment_id
"""
_CLAIM_REFUNDS = f"""
    WITH due AS (
        SELECT r.id FROM refund AS r WHERE r.due_at <= now() AND EXISTS (
            SELECT FROM attempt AS a WHERE a.payment_id = r.payment_id AND a.status = 'succeeded' AND a.provider = $4
        ) ORDER BY r.due_at LIMIT $1 FOR UPDATE SKIP LOCKED
    ), r AS (
        UPDATE refund SET due_at = now() + make_interval(secs => $2), holder = $3, looks = looks + 1
        FROM due WHERE refund.id = due.id
        RETURNING refund.*
    )
    SELECT {rows.PAYMENT}, {rows.REFUND}, charged.charge_id, charged.provider
    FROM r JOIN payment AS p ON p.id = r.payment_id
    JOIN attempt AS charged ON charged.payment_id = p.id AND charged.status = 'succeeded'
"""
_RELEASE = "UPDATE {} SET due_at = now() WHERE holder = $1 AND due_at > now()"


async def claim_charges(
    database: Database, *, provider: str, limit: int, holder: str, lease_s: float
) -> list[ChargeWork]:
    """Take up to `limit` attempts at `provider` that are due; they are `holder`'s for `lease_s`."""
    return [_charge_work(row) for row in await database.rows(_CLAIM_ATTEMPTS, limit, lease_s, holder, provider)]


async def claim_refunds(
    database: Database, *, provider: str, limit: int, holder: str, lease_s: float
) -> list[RefundWork]:
    """Take up to `limit` refunds by `provider` that are due; they are `holder`'s for `lease_s`."""
    return [_refund_work(row) for row in await database.rows(_CLAIM_REFUNDS, limit, lease_s, holder, provider)]


async def release(database: Database, holder: str) -> int:
    """Make all that `holder` has due now: it is gone, or about to go. Returns how many."""
    tags = [await database.execute(_RELEASE.format(table), holder) for table in ("attempt", "refund")]
    return sum(int(tag.split()[-1]) for tag in tags)


def _charge_work(row: Record) -> ChargeWork:
    return ChargeWork(
        payment=rows.payment(row), attempt=rows.attempt(row), age_s=row["age_s"], traceparent=row["traceparent"]
    )


def _refund_work(row: Record) -> RefundWork:
    return RefundWork(
        refund=rows.refund(row),
        charge_id=row["charge_id"],
        amount=Money(row["refund_minor"], row["currency"]),
        provider=row["provider"],
        traceparent=row["traceparent"],
    )
