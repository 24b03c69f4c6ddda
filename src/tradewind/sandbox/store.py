"""All SQL of the sandbox.

Functions take the connection of the job they run in. Money is integers of minor units, time is Unix milliseconds.
"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from tradewind.sandbox.domain import Charge, Refund, RefundStatus, Status

SCHEMA_VERSION = 2
# The one writer gives out `seq`, so its order is that of the commits: who goes on from a cursor misses nothing.
SCHEMA = """
CREATE TABLE charge (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    idempotency_key TEXT NOT NULL UNIQUE,
    reference TEXT NOT NULL,
    payment_method TEXT NOT NULL,
    amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
    captured_minor INTEGER NOT NULL CHECK (captured_minor BETWEEN 0 AND amount_minor),
    refunded_minor INTEGER NOT NULL CHECK (refunded_minor BETWEEN 0 AND captured_minor),
    currency TEXT NOT NULL,
    capture INTEGER NOT NULL,
    status TEXT NOT NULL,
    failure_code TEXT,
    challenge_token TEXT,
    metadata BLOB NOT NULL,
    created_at_ms INTEGER NOT NULL
);
CREATE INDEX charge_reference ON charge (reference, seq);
CREATE TABLE refund (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    charge_id TEXT NOT NULL REFERENCES charge (id),
    reference TEXT NOT NULL,
    amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
    currency TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    status TEXT NOT NULL DEFAULT 'succeeded',
    ends_as TEXT,
    ends_at_ms INTEGER
);
CREATE INDEX refund_pending ON refund (ends_at_ms) WHERE status = 'pending';
CREATE INDEX refund_charge ON refund (charge_id, seq);
CREATE INDEX refund_reference ON refund (reference, seq);
CREATE TABLE answer (
    idempotency_key TEXT PRIMARY KEY,
    fingerprint BLOB NOT NULL,
    status INTEGER NOT NULL,
    body BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE attempt (
    idempotency_key TEXT PRIMARY KEY,
    count INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE delivery (
    seq INTEGER PRIMARY KEY,
    event_id TEXT NOT NULL,
    body BLOB NOT NULL,
    due_at_ms INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    abandoned INTEGER NOT NULL DEFAULT 0,
    signed_ago_s INTEGER NOT NULL DEFAULT 0,
    held_for TEXT
);
CREATE INDEX delivery_due ON delivery (due_at_ms, seq) WHERE abandoned = 0;
"""
UPGRADES = {
    1: """
ALTER TABLE refund ADD COLUMN status TEXT NOT NULL DEFAULT 'succeeded';
ALTER TABLE refund ADD COLUMN ends_as TEXT;
ALTER TABLE refund ADD COLUMN ends_at_ms INTEGER;
CREATE INDEX refund_pending ON refund (ends_at_ms) WHERE status = 'pending';
ALTER TABLE delivery ADD COLUMN signed_ago_s INTEGER NOT NULL DEFAULT 0;
ALTER TABLE delivery ADD COLUMN held_for TEXT;
"""
}
"""What brings a file of that version to the next."""

_SELECT_CHARGE = (
    "SELECT id, idempotency_key, reference, payment_method, amount_minor, captured_minor, refunded_minor, currency,"
    " capture, status, failure_code, challenge_token, metadata, created_at_ms FROM charge"
)
_SELECT_REFUND = (
    "SELECT id, charge_id, reference, amount_minor, currency, created_at_ms, status, ends_as, ends_at_ms FROM refund"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Answer(msgspec.Struct, frozen=True):
    """What a request was answered: HTTP status and body; `replayed` when it was answered before."""

    status: int
    body: bytes
    replayed: bool = False


class Delivery(msgspec.Struct, frozen=True):
    """A webhook on its way; `attempts` failed so far, and it is signed as if that were `signed_ago_s` ago."""

    seq: int
    event_id: str
    body: bytes
    attempts: int
    signed_ago_s: int


def unix_ms(at: datetime) -> int:
    """A point in time as whole Unix milliseconds, rounded down."""
    return (at - _EPOCH) // timedelta(milliseconds=1)


def from_unix_ms(ms: int) -> datetime:
    """The inverse of `unix_ms`, without the error of a float."""
    return _EPOCH + timedelta(milliseconds=ms)


def insert_charge(db: sqlite3.Connection, charge: Charge) -> None:
    """Store a new charge. Raises sqlite3.IntegrityError when its key has one."""
    db.execute(
        "INSERT INTO charge (id, idempotency_key, reference, payment_method, amount_minor, captured_minor,"
        " refunded_minor, currency, capture, status, failure_code, challenge_token, metadata, created_at_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            charge.id,
            charge.idempotency_key,
            charge.reference,
            charge.payment_method,
            charge.amount_minor,
            charge.captured_minor,
            charge.refunded_minor,
            charge.currency,
            charge.capture,
            charge.status.value,
            charge.failure_code,
            charge.challenge_token,
            msgspec.json.encode(charge.metadata),
            unix_ms(charge.created_at),
        ),
    )


def update_charge(db: sqlite3.Connection, charge: Charge) -> None:
    """Store what a move changed."""
    db.execute(
        "UPDATE charge SET status = ?, captured_minor = ?, refunded_minor = ?, failure_code = ? WHERE id = ?",
        (charge.status.value, charge.captured_minor, charge.refunded_minor, charge.failure_code, charge.id),
    )


def find_charge(db: sqlite3.Connection, charge_id: str) -> Charge | None:
    """The charge of that id."""
    row = db.execute(_SELECT_CHARGE + " WHERE id = ?", (charge_id,)).fetchone()
    return _charge(row) if row else None


def list_charges(
    db: sqlite3.Connection, *, limit: int, after: str | None, reference: str | None, idempotency_key: str | None
) -> list[Charge] | None:
    """Up to `limit` charges after the one called `after`, oldest first; None when there is no such charge."""
    seq = _cursor(db, "SELECT seq FROM charge WHERE id = ?", after)
    if seq is None:
        return None
    filters = {"reference": reference, "idempotency_key": idempotency_key}
    return [_charge(row) for row in _page(db, _SELECT_CHARGE, filters, seq, limit)]


def insert_refund(db: sqlite3.Connection, refund: Refund) -> None:
    """Store a new refund."""
    db.execute(
        "INSERT INTO refund (id, charge_id, reference, amount_minor, currency, created_at_ms, status, ends_as, ends_at_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            refund.id,
            refund.charge_id,
            refund.reference,
            refund.amount_minor,
            refund.currency,
            unix_ms(refund.created_at),
            refund.status.value,
            None if refund.ends_as is None else refund.ends_as.value,
            None if refund.ends_at is None else unix_ms(refund.ends_at),
        ),
    )


def list_refunds(
    db: sqlite3.Connection, *, limit: int, after: str | None, charge_id: str | None, reference: str | None
) -> list[Refund] | None:
    """Up to `limit` refunds after the one called `after`, oldest first; None when there is no such refund."""
    seq = _cursor(db, "SELECT seq FROM refund WHERE id = ?", after)
    if seq is None:
        return None
    filters = {"charge_id": charge_id, "reference": reference}
    return [_refund(row) for row in _page(db, _SELECT_REFUND, filters, seq, limit)]


def end_refund(db: sqlite3.Connection, refund_id: str, status: RefundStatus) -> None:
    """A pending refund succeeded or failed."""
    db.execute("UPDATE refund SET status = ?, ends_at_ms = NULL WHERE id = ?", (status.value, refund_id))


def pending_minor(db: sqlite3.Connection, charge_id: str) -> int:
    """What pending refunds of a charge have set aside."""
    sql = "SELECT coalesce(sum(amount_minor), 0) FROM refund WHERE charge_id = ? AND status = 'pending'"
    return int(db.execute(sql, (charge_id,)).fetchone()[0])


def list_ending_refunds(db: sqlite3.Connection, now_ms: int, limit: int) -> list[Refund]:
    """Up to `limit` pending refunds whose time has come."""
    sql = _SELECT_REFUND + " WHERE status = 'pending' AND ends_at_ms <= ? ORDER BY ends_at_ms LIMIT ?"
    return [_refund(row) for row in db.execute(sql, (now_ms, limit))]


def find_next_ending_ms(db: sqlite3.Connection) -> int | None:
    """When the next pending refund ends."""
    row = db.execute("SELECT min(ends_at_ms) FROM refund WHERE status = 'pending'").fetchone()
    return None if row[0] is None else int(row[0])


def list_balances(db: sqlite3.Connection) -> list[tuple[str, int, int, int, int]]:
    """Rows of (currency, charges that succeeded, refunds, captured, refunded), by currency. Reads every charge."""
    return db.execute(
        "SELECT c.currency, c.charges, coalesce(r.refunds, 0), c.captured_minor, c.refunded_minor"
        " FROM (SELECT currency, count(*) FILTER (WHERE status = 'succeeded') AS charges,"
        "       sum(captured_minor) AS captured_minor, sum(refunded_minor) AS refunded_minor"
        "       FROM charge GROUP BY currency) AS c"
        " LEFT JOIN (SELECT currency, count(*) AS refunds FROM refund WHERE status = 'succeeded' GROUP BY currency) AS r USING (currency)"
        " ORDER BY c.currency"
    ).fetchall()


def find_answer(db: sqlite3.Connection, key: str) -> tuple[bytes, Answer] | None:
    """Fingerprint of the request that first used `key`, and what it was answered."""
    row = db.execute("SELECT fingerprint, status, body FROM answer WHERE idempotency_key = ?", (key,)).fetchone()
    return (row[0], Answer(row[1], row[2], replayed=True)) if row else None


def insert_answer(db: sqlite3.Connection, key: str, fingerprint: bytes, answer: Answer) -> None:
    """Remember the answer that belongs to `key`."""
    db.execute("INSERT INTO answer VALUES (?, ?, ?, ?)", (key, fingerprint, answer.status, answer.body))


def next_attempt(db: sqlite3.Connection, key: str) -> int:
    """Count one more attempt under `key`; 1 is the first."""
    db.execute(
        "INSERT INTO attempt VALUES (?, 1) ON CONFLICT (idempotency_key) DO UPDATE SET count = count + 1", (key,)
    )
    return int(db.execute("SELECT count FROM attempt WHERE idempotency_key = ?", (key,)).fetchone()[0])


def insert_delivery(
    db: sqlite3.Connection,
    event_id: str,
    body: bytes,
    due_at_ms: int,
    *,
    signed_ago_s: int = 0,
    held_for: str | None = None,
) -> None:
    """Queue a webhook; one that is `held_for` a reference is due sooner when the next about it leaves."""
    db.execute(
        "INSERT INTO delivery (event_id, body, due_at_ms, signed_ago_s, held_for) VALUES (?, ?, ?, ?, ?)",
        (event_id, body, due_at_ms, signed_ago_s, held_for),
    )


def release_held(db: sqlite3.Connection, reference: str, due_at_ms: int) -> None:
    """Webhooks about `reference` that waited to be overtaken are due then."""
    db.execute(
        "UPDATE delivery SET due_at_ms = min(due_at_ms, ?), held_for = NULL WHERE held_for = ?", (due_at_ms, reference)
    )


def list_due_deliveries(db: sqlite3.Connection, now_ms: int, limit: int) -> list[Delivery]:
    """Up to `limit` webhooks that are due, the longest due first."""
    rows = db.execute(
        "SELECT seq, event_id, body, attempts, signed_ago_s FROM delivery WHERE abandoned = 0 AND due_at_ms <= ?"
        " ORDER BY due_at_ms, seq LIMIT ?",
        (now_ms, limit),
    )
    return [Delivery(*row) for row in rows]


def find_next_due_ms(db: sqlite3.Connection) -> int | None:
    """When the next webhook is due."""
    row = db.execute("SELECT min(due_at_ms) FROM delivery WHERE abandoned = 0").fetchone()
    return None if row[0] is None else int(row[0])


def delete_deliveries(db: sqlite3.Connection, seqs: list[int]) -> None:
    """These arrived."""
    db.executemany("DELETE FROM delivery WHERE seq = ?", [(seq,) for seq in seqs])


def postpone_delivery(db: sqlite3.Connection, seq: int, due_at_ms: int) -> None:
    """One more attempt failed; the next is due then."""
    db.execute("UPDATE delivery SET attempts = attempts + 1, due_at_ms = ? WHERE seq = ?", (due_at_ms, seq))


def abandon_delivery(db: sqlite3.Connection, seq: int) -> None:
    """The last attempt failed; the row stays, to be seen."""
    db.execute("UPDATE delivery SET attempts = attempts + 1, abandoned = 1 WHERE seq = ?", (seq,))


def count_deliveries(db: sqlite3.Connection) -> tuple[int, int]:
    """How many webhooks are still to be delivered, and how many were given up."""
    row = db.execute("SELECT count(*) FILTER (WHERE abandoned = 0), count(*) FILTER (WHERE abandoned) FROM delivery")
    pending, abandoned = row.fetchone()
    return int(pending), int(abandoned)


def _cursor(db: sqlite3.Connection, sql: str, after: str | None) -> int | None:
    """The `seq` of the row called `after`, 0 for the start of the list, None when there is no such row."""
    if after is None:
        return 0
    row = db.execute(sql, (after,)).fetchone()
    return int(row[0]) if row else None


def _page(
    db: sqlite3.Connection, select: str, filters: dict[str, str | None], after_seq: int, limit: int
) -> list[tuple[Any, ...]]:
    """Rows after a cursor that pass the filters that are set; the names of columns come from this file only."""
    given = {column: value for column, value in filters.items() if value is not None}
    conditions = ["seq > ?", *(f"{column} = ?" for column in given)]
    sql = select + " WHERE " + " AND ".join(conditions) + " ORDER BY seq LIMIT ?"
    return db.execute(sql, (after_seq, *given.values(), limit)).fetchall()


def _charge(row: tuple[Any, ...]) -> Charge:
    return Charge(
        id=row[0],
        idempotency_key=row[1],
        reference=row[2],
        payment_method=row[3],
        amount_minor=row[4],
        captured_minor=row[5],
        refunded_minor=row[6],
        currency=row[7],
        capture=bool(row[8]),
        status=Status(row[9]),
        failure_code=row[10],
        challenge_token=row[11],
        metadata=msgspec.json.decode(row[12], type=dict[str, str]),
        created_at=from_unix_ms(row[13]),
    )


def _refund(row: tuple[Any, ...]) -> Refund:
    return Refund(
        id=row[0],
        charge_id=row[1],
        reference=row[2],
        amount_minor=row[3],
        currency=row[4],
        created_at=from_unix_ms(row[5]),
        status=RefundStatus(row[6]),
        ends_as=None if row[7] is None else RefundStatus(row[7]),
        ends_at=None if row[8] is None else from_unix_ms(row[8]),
    )
