"""What notification-service remembers: all its SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from tradewind.chassis.postgres import Record, Statements, Tx


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """A mail that is due: what to send, and to whom."""

    notification_id: str
    message_id: str
    kind: str
    title: str
    body: str
    data: Mapping[str, object]
    email: str
    name: str
    attempts: int
    created_at: datetime


class NewNotice(msgspec.Struct, frozen=True, kw_only=True):
    """A notice about to be stored, with its mail."""

    id: str
    event_id: str
    user_id: str
    kind: str
    title: str
    body: str
    data: str
    message_id: str


class Contact(msgspec.Struct, frozen=True):
    """Where a user is reached."""

    user_id: str
    email: str
    name: str


async def save_contacts(tx: Tx, contacts: Sequence[Contact]) -> None:
    """Know these users from now on; the later of two wins."""
    latest = {contact.user_id: contact for contact in contacts}
    await tx.execute(
        "INSERT INTO contact (user_id, email, name)"
        " SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[])"
        " ON CONFLICT (user_id) DO UPDATE SET email = excluded.email, name = excluded.name",
        [c.user_id for c in latest.values()], [c.email for c in latest.values()], [c.name for c in latest.values()],
    )  # fmt: skip


async def save_name(tx: Tx, user_id: str, name: str) -> None:
    """A user goes by another name."""
    await tx.execute("UPDATE contact SET name = $2 WHERE user_id = $1", user_id, name)


async def save_notices(tx: Tx, notices: Sequence[NewNotice]) -> None:
    """Store notices and queue their mails, in one statement. A second notice of one event is dropped."""
    await tx.execute(
        "WITH stored AS ("
        "  INSERT INTO notification (id, event_id, user_id, kind, title, body, data)"
        "  SELECT id, event_id, user_id, kind, title, body, data::jsonb FROM unnest("
        "    $1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[]"
        "  ) AS new (id, event_id, user_id, kind, title, body, data)"
        "  ON CONFLICT (event_id) DO NOTHING RETURNING id"
        ") INSERT INTO mail (notification_id, message_id)"
        "  SELECT id, message_id FROM stored JOIN unnest($1::uuid[], $8::text[]) AS new (id, message_id) USING (id)",
        [n.id for n in notices], [n.event_id for n in notices], [n.user_id for n in notices],
        [n.kind for n in notices], [n.title for n in notices], [n.body for n in notices],
        [n.data for n in notices], [n.message_id for n in notices],
    )  # fmt: skip


async def list_notifications(
    statements: Statements, user_id: str, *, unread: bool, before: tuple[datetime, str] | None, limit: int
) -> list[Record]:
    """A user's notifications, newest first, those before (time, id); up to `limit + 1` rows."""
    created_at, last_id = before or (None, None)
    return await statements.rows(
        "SELECT id::text, kind, title, body, data::text, created_at, read_at FROM notification"
        " WHERE user_id = $1 AND ($2 OR read_at IS NULL) AND ($3::timestamptz IS NULL OR (created_at, id) < ($3, $4::uuid))"
        " ORDER BY created_at DESC, id DESC LIMIT $5",
        user_id, not unread, created_at, last_id, limit + 1,
    )  # fmt: skip


async def mark_read(statements: Statements, user_id: str, notification_id: str) -> Record | None:
    """Set the time of the first reading; None when the user has no such notification."""
    return await statements.row(
        "UPDATE notification SET read_at = coalesce(read_at, now()) WHERE id = $1 AND user_id = $2"
        " RETURNING id::text, kind, title, body, data::text, created_at, read_at",
        notification_id, user_id,
    )  # fmt: skip


async def lease_due_mails(statements: Statements, *, limit: int, lease_s: float) -> list[Mail]:
    """Take mails that are due, oldest first, for `lease_s`; a sender that dies leaves them to the next one.

    A mail waits for its contact: the order may be known before the account is.
    """
    rows = await statements.rows(
        "UPDATE mail SET due_at = now() + make_interval(secs => $2), attempts = attempts + 1"
        " FROM notification n JOIN contact c USING (user_id)"
        " WHERE mail.notification_id = ANY(ARRAY("
        "   SELECT m.notification_id FROM mail m JOIN notification n ON n.id = m.notification_id"
        "   JOIN contact c USING (user_id) WHERE m.sent_at IS NULL AND m.due_at <= now()"
        "   ORDER BY m.due_at LIMIT $1 FOR UPDATE OF m SKIP LOCKED))"
        " AND n.id = mail.notification_id"
        " RETURNING n.id::text AS notification_id, mail.message_id, n.kind, n.title, n.body, n.data::text,"
        "   c.email, c.name, mail.attempts, n.created_at",
        limit, lease_s,
    )  # fmt: skip
    return [Mail(**{**row, "data": msgspec.json.decode(row["data"])}) for row in rows]


async def mails_sent(statements: Statements, notification_ids: Sequence[str]) -> None:
    """These were accepted by the mail server."""
    await statements.execute(
        "UPDATE mail SET sent_at = now(), last_error = NULL WHERE notification_id = ANY($1::uuid[])", notification_ids
    )


async def mail_failed(statements: Statements, notification_id: str, *, due_at: datetime, error: str) -> None:
    """Try this one again at `due_at`."""
    await statements.execute(
        "UPDATE mail SET due_at = $2, last_error = $3 WHERE notification_id = $1", notification_id, due_at, error
    )
