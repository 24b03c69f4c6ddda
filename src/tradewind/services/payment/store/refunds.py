"""Money on its way back."""

# ruff: noqa: S608 - only constants are formatted into statements

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tradewind.chassis.postgres import Tx
from tradewind.contracts.money import Money
from tradewind.services.payment.domain.payment import Payment
from tradewind.services.payment.domain.refund import Refund
from tradewind.services.payment.store import rows

_INSERT = """
    INSERT INTO refund (id, payment_id, amount_minor, reason, by_itself, requested_by, traceparent, holder, due_at)
    SELECT *, $8, now() + make_interval(secs => $9)
    FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::boolean[], $6::text[], $7::text[])
"""
_LOCK = f"""
    SELECT {rows.PAYMENT}, {rows.REFUND}
    FROM refund AS r JOIN payment AS p ON p.id = r.payment_id
    WHERE r.id = ANY($1::uuid[]) ORDER BY p.id, r.id
    FOR UPDATE OF p, r
"""
_SAVE = """
    UPDATE refund AS r SET
        status = c.status, code = c.code, provider_id = c.provider_id, round = c.round, holder = $7,
        due_at = now() + make_interval(secs => c.due_in_s), settled_at = CASE WHEN c.status <> 'pending' THEN now() END
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::int[], $6::float8[])
        AS c(id, status, code, provider_id, round, due_in_s)
    WHERE r.id = c.id
"""


class NewRefund(msgspec.Struct, frozen=True, kw_only=True):
    """A refund to begin, of `provider`'s charge `charge_id`."""

    refund: Refund
    amount: Money
    charge_id: str
    provider: str
    traceparent: str | None


class Refunding(msgspec.Struct, frozen=True):
    """A refund with its payment, and the trace in which it was asked for."""

    payment: Payment
    refund: Refund
    traceparent: str | None


async def insert(tx: Tx, new: Sequence[NewRefund], *, holder: str, lease_s: float) -> None:
    """Begin refunds; they are `holder`'s for `lease_s`."""
    await tx.execute(
        _INSERT,
        [each.refund.id for each in new],
        [each.refund.payment_id for each in new],
        [each.refund.amount_minor for each in new],
        [each.refund.reason for each in new],
        [each.refund.by_itself for each in new],
        [each.refund.requested_by for each in new],
        [each.traceparent for each in new],
        holder,
        lease_s,
    )


async def lock(tx: Tx, refund_ids: Sequence[str]) -> list[Refunding]:
    """These refunds with their payments, both locked, those of one payment one after the other."""
    found = await tx.rows(_LOCK, refund_ids)
    return [Refunding(rows.payment(row), rows.refund(row), row["traceparent"]) for row in found]


async def save(tx: Tx, refunds: Sequence[Refund], *, holder: str) -> None:
    """Write down how refunds stand. What is due again is `holder`'s until then."""
    await tx.execute(
        _SAVE,
        [refund.id for refund in refunds],
        [refund.status for refund in refunds],
        [refund.code for refund in refunds],
        [refund.provider_id for refund in refunds],
        [refund.round for refund in refunds],
        [refund.due_in_s for refund in refunds],
        holder,
    )
