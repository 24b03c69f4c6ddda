"""What notification-service can do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from tradewind.chassis import logs
from tradewind.chassis.errors import NotFound, Unavailable
from tradewind.chassis.events import Event, Received
from tradewind.chassis.ids import new_id
from tradewind.chassis.postgres import Record, Tx
from tradewind.contracts.auth import UserRegistered
from tradewind.services.notification import store
from tradewind.services.notification.clients import MailRefused, MailSession
from tradewind.services.notification.domain import message_id, next_try, notice_of
from tradewind.services.notification.parts import Parts

LEASE_S = 60.0
_log = logs.get_logger("mail")


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """One thing a customer was told."""

    id: str
    kind: str
    title: str
    body: str
    data: dict[str, Any]
    created_at: datetime
    read_at: datetime | None


async def notify(parts: Parts, tx: Tx, events: Sequence[Received[Event]]) -> None:
    """Store what these events tell customers, and queue the mails; they go out after the commit."""
    known = [event.data for event in events if isinstance(event.data, UserRegistered)]
    if known:
        await store.save_contacts(tx, [store.Contact(user.user_id, user.email, user.name) for user in known])
    notices = [new for event in events if (new := _new_notice(parts, event)) is not None]
    if notices:
        await store.save_notices(tx, notices)
        tx.after_commit(parts.wake_mail)


def _new_notice(parts: Parts, event: Received[Event]) -> store.NewNotice | None:
    notice = notice_of(event.data)
    if notice is None:
        return None
    notification_id = new_id()
    return store.NewNotice(
        id=notification_id,
        event_id=event.id,
        user_id=notice.user_id,
        kind=notice.kind,
        title=notice.title,
        body=notice.body,
        data=msgspec.json.encode(notice.data).decode(),
        message_id=message_id(notification_id, parts.mail_from),
    )


async def rename_contact(tx: Tx, user_id: str, name: str) -> None:
    """Address a user by the new name from now on."""
    await store.save_name(tx, user_id, name)


async def list_notifications(
    parts: Parts, user_id: str, *, unread: bool, before: tuple[datetime, str] | None, limit: int
) -> list[Notification]:
    """A user's notifications, newest first, those before (time, id), one more than `limit` where there are more."""
    rows = await store.list_notifications(parts.database, user_id, unread=unread, before=before, limit=limit)
    return [_notification(row) for row in rows]


async def read_notification(parts: Parts, user_id: str, notification_id: str) -> Notification:
    """Note that a user has read it; doing it again changes nothing.

    Raises:
        NotFound: `notification-not-found`.
    """
    row = await store.mark_read(parts.database, user_id, notification_id)
    if row is None:
        raise NotFound("notification-not-found", "You have no such notification.")
    return _notification(row)


async def send_due_mails(parts: Parts) -> None:
    """Send what is due, a batch per connection, until nothing is.

    Every mail leaves at least once with a Message-ID that never changes: a crash between the server's answer and our
    record sends it again, and the receiver can tell. While the server is left alone no mail is touched, so none of them
    counts a try that was not made.
    """
    parts.mailer.require()
    while mails := await store.lease_due_mails(parts.database, limit=parts.mail_batch, lease_s=LEASE_S):
        sent: list[str] = []
        try:
            async with parts.mailer.session() as session:
                for mail in mails:
                    sent += [mail.notification_id] if await _send(parts, session, mail) else []
        except Unavailable as exc:
            waiting = [mail for mail in mails if mail.notification_id not in sent]
            for mail in waiting:
                due_at = next_try(parts.clock.now(), mail.attempts)
                await store.mail_failed(parts.database, mail.notification_id, due_at=due_at, error=exc.detail)
            raise
        finally:
            if sent:
                await store.mails_sent(parts.database, sent)


async def _send(parts: Parts, session: MailSession, mail: store.Mail) -> bool:
    try:
        await session.send(parts.templates.letter(mail, parts.mail_from))
    except MailRefused as exc:
        _log.warning("mail refused", notification_id=mail.notification_id, attempts=mail.attempts, reason=str(exc))
        due_at = next_try(parts.clock.now(), mail.attempts)
        await store.mail_failed(parts.database, mail.notification_id, due_at=due_at, error=str(exc))
        return False
    return True


def _notification(row: Record) -> Notification:
    return Notification(**{**row, "data": msgspec.json.decode(row["data"])})
