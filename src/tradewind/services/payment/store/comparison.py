"""The provider's list of charges beside our attempts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from tradewind.chassis.ids import is_id
from tradewind.chassis.postgres import Database
from tradewind.services.payment.domain.charge import ChargeStatus, Listed
from tradewind.services.payment.domain.unwanted import id_of_unwanted

# One instance compares: whoever moves `begun_at` on. One that was killed, or found the provider away, is followed after a pause. Windows
# overlap, so that what was made while the last list was read is in the next. One that nobody wanted and that is still in suspense is
# looked for again, for so long ($6).
_BEGIN = """
    INSERT INTO comparison AS c (provider, begun_at) VALUES ($1, now())
    ON CONFLICT (provider) DO UPDATE SET begun_at = now()
        WHERE c.begun_at < now() - make_interval(secs => $2)
            AND coalesce(c.compared_upto, '-infinity') < now() - make_interval(secs => $3)
    RETURNING begun_at, least(
        coalesce(compared_upto - make_interval(secs => $4), begun_at - make_interval(secs => $5)),
        (SELECT min(t.booked_at) - make_interval(secs => $5) FROM ledger_transaction AS t
            WHERE t.cause = 'mismatch' AND t.booked_at > now() - make_interval(secs => $6)
                AND NOT EXISTS (SELECT FROM ledger_transaction AS u WHERE u.cause_id = t.cause_id AND u.cause = 'mismatch_undone')
                AND NOT EXISTS (SELECT FROM attempt AS a WHERE a.id = t.cause_id))) AS since
"""
_END = "UPDATE comparison SET compared_upto = $2, charges = $3 WHERE provider = $1 AND begun_at = $2"
_FIND = "SELECT compared_upto, charges FROM comparison WHERE provider = $1"

# What is under way may differ, and so may what has changed since the list was begun ($7). Of two charges for one attempt, the one that
# the attempt does not name is nobody's; nor is that of an attempt that failed, since its order is cancelled.
_DIFFERENT = """
    SELECT theirs.charge_id, a.id::text AS attempt_id, a.payment_id::text, p.amount_minor, p.captured_minor, p.refunded_minor,
        p.currency, theirs.captured, theirs.refunded, theirs.currency AS their_currency, theirs.status,
        CASE
            WHEN a.id IS NULL THEN CASE WHEN theirs.captured > theirs.refunded OR theirs.status = 'authorized' THEN 'stray' END
            WHEN a.due_at IS NOT NULL OR p.updated_at >= $7 THEN NULL
            WHEN a.charge_id <> theirs.charge_id OR a.status = 'failed' THEN CASE
                WHEN theirs.captured > theirs.refunded OR theirs.status = 'authorized' OR EXISTS (
                    SELECT FROM discrepancy AS d WHERE d.subject_id = theirs.unwanted_id AND d.resolved_at IS NULL)
                THEN 'unwanted' END
            WHEN a.status = 'requires_action' THEN CASE WHEN theirs.status <> 'requires_action' THEN 'unheard' END
            WHEN a.status = 'cancelled' THEN CASE
                WHEN theirs.captured > theirs.refunded OR theirs.status = 'authorized' THEN 'unheard' END
            WHEN a.status = 'succeeded' AND (theirs.captured, theirs.currency) = (p.captured_minor, p.currency)
                AND theirs.refunded BETWEEN p.refunded_minor AND p.refunded_minor + p.refunding_minor THEN NULL
            WHEN a.status = 'succeeded' THEN 'differs'
        END AS verdict
    FROM unnest($1::text[], $2::uuid[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $8::uuid[])
        AS theirs (charge_id, attempt_id, status, captured, refunded, currency, unwanted_id)
    LEFT JOIN attempt AS a ON a.id = theirs.attempt_id
    LEFT JOIN payment AS p ON p.id = a.payment_id
"""
_WAKE = """
    UPDATE attempt SET due_at = now() WHERE id = ANY($1::uuid[]) AND due_at IS NULL AND status IN ('requires_action', 'cancelled')
"""


class Begun(msgspec.Struct, frozen=True):
    """A comparison that is ours to make, of the charges made `since`; `at` is when it began, by the database's clock."""

    at: datetime
    since: datetime


class Compared(msgspec.Struct, frozen=True):
    """Up to when the lists were compared, and how many charges that were the last time."""

    upto: datetime | None
    charges: int


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A charge that is not as we have it. `attempt_id` and `payment_id` are None where we have none of it.

    `verdict`: `stray`, we never asked for it; `unheard`, it moved on and nobody told us; `unwanted`, it is a second one, or of an
    attempt that failed, and something is left of it; `differs`, a person has to look.
    """

    verdict: str
    charge_id: str
    attempt_id: str | None
    payment_id: str | None
    ours: str
    theirs: str


async def begin(
    database: Database,
    provider: str,
    *,
    pause_s: float,
    every_s: float,
    overlap_s: float,
    first_s: float,
    suspense_s: float,
) -> Begun | None:
    """Begin one, unless it was made within `every_s`, or begun by somebody within `pause_s`.

    It reaches back to the last one and `overlap_s` more; the first one `first_s`. Where money that nobody wanted is in suspense for less
    than `suspense_s`, so that its charge is in the list.
    """
    row = await database.row(_BEGIN, provider, pause_s, every_s, overlap_s, first_s, suspense_s)
    return Begun(row["begun_at"], row["since"]) if row else None


async def end(database: Database, provider: str, begun: Begun, charges: int) -> None:
    """It is done, and had so many charges."""
    await database.execute(_END, provider, begun.at, charges)


async def find_compared(database: Database, provider: str) -> Compared:
    """How far the comparison is."""
    row = await database.row(_FIND, provider)
    return Compared(row["compared_upto"], row["charges"]) if row else Compared(None, 0)


async def list_differences(database: Database, theirs: Sequence[Listed], begun: Begun) -> list[Difference]:
    """Which of these charges are not as we have them."""
    rows = await database.rows(
        _DIFFERENT,
        [each.charge.id for each in theirs],
        [each.attempt_id if is_id(each.attempt_id) else None for each in theirs],
        [_status(each.charge.status) for each in theirs],
        [each.charge.captured_minor for each in theirs],
        [each.charge.refunded_minor for each in theirs],
        [each.charge.amount.currency for each in theirs],
        begun.at,
        [id_of_unwanted(each.charge.id) for each in theirs],
    )
    return [
        Difference(
            verdict=row["verdict"],
            charge_id=row["charge_id"],
            attempt_id=row["attempt_id"],
            payment_id=row["payment_id"],
            ours="nothing"
            if row["attempt_id"] is None
            else f"{row['captured_minor']} {row['currency']}, {row['refunded_minor']} of it back",
            theirs=f"{row['captured']} {row['their_currency']}, {row['refunded']} of it back ({row['status']})",
        )
        for row in rows
        if row["verdict"]
    ]


async def wake(database: Database, attempt_ids: Sequence[str]) -> None:
    """These are to be asked about again."""
    await database.execute(_WAKE, attempt_ids)


def _status(status: ChargeStatus) -> str:
    # A challenge that was answered waits for our word; that is not news.
    return ChargeStatus.REQUIRES_ACTION if status is ChargeStatus.REQUIRES_CONFIRMATION else status
