"""Payments and attempts as they begin: written down before the provider hears of them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tradewind.chassis.postgres import Tx
from tradewind.contracts.money import Money
from tradewind.services.payment.domain.payment import Payment

_INSERT = """
    WITH intent AS (
        SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[], $5::text[], $6::text[], $7::uuid[], $8::text[])
            AS i(payment_id, order_id, customer_id, amount_minor, currency, payment_method, attempt_id, traceparent)
    ), fresh AS (
        INSERT INTO payment (id, order_id, customer_id, amount_minor, currency, payment_method)
        SELECT payment_id, order_id, customer_id, amount_minor, currency, payment_method FROM intent
        ON CONFLICT DO NOTHING
        RETURNING id
    )
    INSERT INTO attempt (id, payment_id, provider, capture, traceparent, holder, due_at)
    SELECT attempt_id, payment_id, $9, $10, traceparent, $11, now() + make_interval(secs => $12)
    FROM intent JOIN fresh ON fresh.id = intent.payment_id
    RETURNING id::text
"""
_INSERT_CANCELLED = """
    INSERT INTO payment (id, order_id, customer_id, amount_minor, currency, payment_method, status, order_cancelled, version)
    VALUES ($1, $2, $3, $4, $5, '', 'cancelled', true, 1)
    ON CONFLICT DO NOTHING
    RETURNING true
"""


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """A payment to begin, with its first attempt. `traceparent` is the trace of the order."""

    payment_id: str
    attempt_id: str
    order_id: str
    customer_id: str
    amount: Money
    payment_method: str
    traceparent: str | None


async def insert_intents(
    tx: Tx, intents: Sequence[Intent], *, provider: str, capture: bool, holder: str, lease_s: float
) -> list[Intent]:
    """Begin those payments whose id and order are new; returns them. They are `holder`'s for `lease_s`.

    Which provider and whether it captures at once is the attempt's for good: the settings may change while it is under way.
    """
    inserted = await tx.rows(
        _INSERT,
        [intent.payment_id for intent in intents],
        [intent.order_id for intent in intents],
        [intent.customer_id for intent in intents],
        [intent.amount.amount_minor for intent in intents],
        [intent.amount.currency for intent in intents],
        [intent.payment_method for intent in intents],
        [intent.attempt_id for intent in intents],
        [intent.traceparent for intent in intents],
        provider,
        capture,
        holder,
        lease_s,
    )
    fresh = {row["id"] for row in inserted}
    return [intent for intent in intents if intent.attempt_id in fresh]


async def insert_cancelled(tx: Tx, payment: Payment) -> bool:
    """Remember a payment that was cancelled before we heard of its order; False when there is one already."""
    amount = payment.amount
    return bool(
        await tx.value(
            _INSERT_CANCELLED, payment.id, payment.order_id, payment.customer_id, amount.amount_minor, amount.currency
        )
    )
