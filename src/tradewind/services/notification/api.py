"""The HTTP door of notification-service."""

from __future__ import annotations

from tradewind.chassis.http import SIGNED_IN, Api, Call, Id, Moment, Page, PageQuery
from tradewind.services.notification import usecases
from tradewind.services.notification.parts import Parts
from tradewind.services.notification.usecases import Notification

api = Api("notification", tag="Notifications", description="What a customer was told, in the app.")


@api.get("/v1/notifications", access=SIGNED_IN)
async def list_notifications(call: Call[Parts], page: PageQuery, unread: bool = False) -> Page[Notification]:
    """List the caller's notifications, newest first."""
    after = page.after(Moment)
    found = await usecases.list_notifications(
        call.parts, call.caller.subject, unread=unread, before=(after.at, after.id) if after else None, limit=page.limit
    )
    return page.page(found, lambda each: each, lambda last: Moment(last.created_at, last.id))


@api.post("/v1/notifications/{id}/read", access=SIGNED_IN, raises=("notification-not-found",))
async def read_notification(call: Call[Parts], id: Id) -> Notification:
    """Mark a notification as read. Repeating it changes nothing."""
    return await usecases.read_notification(call.parts, call.caller.subject, id)
