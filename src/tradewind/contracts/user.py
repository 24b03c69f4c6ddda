"""What user-service says has happened. Key and subject: the user's id."""

from __future__ import annotations

from tradewind.chassis.events import Event

TOPIC = "user"
KEY = "user_id"


class UserProfileChanged(Event, frozen=True, kw_only=True):
    """A user goes by another name, or wants another language (BCP 47)."""

    TYPE = "user.profile_changed.v1"
    TOPIC = TOPIC
    KEY = KEY
    user_id: str
    name: str
    locale: str | None = None


EVENTS = (UserProfileChanged,)
