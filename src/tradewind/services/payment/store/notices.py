"""What the provider told by itself."""

from __future__ import annotations

from collections.abc import Sequence

from tradewind.chassis.postgres import Database
from tradewind.services.payment.domain.work import Notice

ASK_IN_S = 0.25
"""A webhook often overtakes the answer of the call it is about: a moment later that is recorded, and there is nothing to ask."""

FORGET_MOST = 5_000

# SKIP LOCKED: whoever has the row locked is writing down what became of it.
_RECORD = """
    WITH heard AS (
        SELECT * FROM unnest($2::text[], $3::text[], $4::uuid[], $5::uuid[]) AS h(event_id, type, attempt_id, refund_id)
    ), fresh AS (
        INSERT INTO webhook_event (provider, event_id, type) SELECT $1, event_id, type FROM heard
        ON CONFLICT DO NOTHING RETURNING event_id
    ), about AS (
        SELECT attempt_id, refund_id FROM heard JOIN fresh USING (event_id)
    ), asked_charges AS (
        UPDATE attempt SET due_at = now() + make_interval(secs => $6) WHERE id IN (
            SELECT a.id FROM attempt AS a
            WHERE a.id IN (SELECT attempt_id FROM about) AND a.status IN ('processing', 'requires_action', 'authorized', 'cancelled')
                AND coalesce(a.due_at, 'infinity') > now() + make_interval(secs => $6)
            FOR UPDATE SKIP LOCKED)
    ), asked_refunds AS (
        UPDATE refund SET due_at = now() + make_interval(secs => $6) WHERE id IN (
            SELECT r.id FROM refund AS r
            WHERE r.id IN (SELECT refund_id FROM about) AND r.status = 'pending'
                AND coalesce(r.due_at, 'infinity') > now() + make_interval(secs => $6)
            FOR UPDATE SKIP LOCKED)
    )
    SELECT count(*) FROM fresh
"""
_FORGET = """
    DELETE FROM webhook_event WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM webhook_event WHERE received_at < now() - make_interval(days => $1) LIMIT $2))
"""


async def record(database: Database, provider: str, heard: Sequence[Notice]) -> None:
    """Remember webhooks and make what the new ones are about due."""
    await database.execute(
        _RECORD,
        provider,
        [notice.event_id for notice in heard],
        [notice.type for notice in heard],
        [notice.attempt_id for notice in heard],
        [notice.refund_id for notice in heard],
        ASK_IN_S,
    )


async def forget(database: Database, older_than_days: int) -> bool:
    """Delete old webhooks, a bounded number a call; returns whether there may be more."""
    return int((await database.execute(_FORGET, older_than_days, FORGET_MOST)).split()[-1]) == FORGET_MOST
