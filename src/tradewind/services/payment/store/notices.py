"""What the provider told by itself."""

# ruff: noqa: S608 - only constants are formatted into statements

from __future__ import annotations

from collections.abc import Sequence

from tradewind.chassis.postgres import Database
from tradewind.services.payment.domain.work import Notice

ASK_IN_S = 0.25
"""A webhook often overtakes the answer of the call it is about: a moment later that is recorded, and there is nothing to ask."""

FORGET_MOST = 5_000

_MAY_CHANGE = "status IN ('processing', 'requires_action', 'authorized', 'cancelled')"

# `heard` outlives the answer that is being waited for: should that say that the customer's word is due, somebody looks again.
# SKIP LOCKED: whoever has a row locked is writing down what became of it, mostly the very thing that the webhook is about. What was
# skipped is returned. A double counts again, since its first may have been cut off between the two statements.
_RECORD = f"""
    WITH heard AS (
        SELECT * FROM unnest($2::text[], $3::text[], $4::uuid[], $5::uuid[]) AS h(event_id, type, attempt_id, refund_id)
    ), fresh AS (
        INSERT INTO webhook_event (provider, event_id, type) SELECT $1, event_id, type FROM heard ON CONFLICT DO NOTHING
    ), open AS (
        SELECT id FROM attempt WHERE id IN (SELECT attempt_id FROM heard) AND {_MAY_CHANGE}
    ), asked_charges AS (
        UPDATE attempt SET heard = true, due_at = least(due_at, now() + make_interval(secs => $6)) WHERE id IN (
            SELECT id FROM attempt WHERE id IN (SELECT id FROM open) AND {_MAY_CHANGE} FOR UPDATE SKIP LOCKED)
        RETURNING id
    ), asked_refunds AS (
        UPDATE refund SET due_at = now() + make_interval(secs => $6) WHERE id IN (
            SELECT r.id FROM refund AS r
            WHERE r.id IN (SELECT refund_id FROM heard) AND r.status = 'pending'
                AND coalesce(r.due_at, 'infinity') > now() + make_interval(secs => $6)
            FOR UPDATE SKIP LOCKED)
    )
    SELECT id::text FROM open EXCEPT SELECT id::text FROM asked_charges
"""

# After whoever is writing. Payments are locked in the order of their ids, as everywhere, so nobody waits for each other.
_RECORD_SKIPPED = f"""
    UPDATE attempt AS a SET heard = true, due_at = least(a.due_at, now() + make_interval(secs => $2))
    FROM (
        SELECT p.id FROM payment AS p WHERE p.id IN (SELECT payment_id FROM attempt WHERE id = ANY($1::uuid[]))
        ORDER BY p.id FOR UPDATE
    ) AS locked
    WHERE a.payment_id = locked.id AND a.id = ANY($1::uuid[]) AND a.{_MAY_CHANGE}
"""
_FORGET = """
    DELETE FROM webhook_event WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM webhook_event WHERE received_at < now() - make_interval(days => $1) LIMIT $2))
"""


async def record(database: Database, provider: str, heard: Sequence[Notice]) -> None:
    """Remember webhooks and make what they are about due."""
    skipped = await database.rows(
        _RECORD,
        provider,
        [notice.event_id for notice in heard],
        [notice.type for notice in heard],
        [notice.attempt_id for notice in heard],
        [notice.refund_id for notice in heard],
        ASK_IN_S,
    )
    if skipped:
        await database.execute(_RECORD_SKIPPED, [row["id"] for row in skipped], ASK_IN_S)


async def forget(database: Database, older_than_days: int) -> bool:
    """Delete old webhooks, a bounded number a call; returns whether there may be more."""
    return int((await database.execute(_FORGET, older_than_days, FORGET_MOST)).split()[-1]) == FORGET_MOST
