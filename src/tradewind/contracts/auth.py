"""What auth-service says has happened. Key and subject: the user's id."""

from __future__ import annotations

from tradewind.chassis.events import Event

TOPIC = "auth"
KEY = "user_id"


class UserRegistered(Event, frozen=True, kw_only=True):
    """Somebody has an account; the address is not yet verified."""

    TYPE = "user.registered.v1"
    TOPIC = TOPIC
    KEY = KEY
    user_id: str
    email: str
    name: str
    roles: list[str]


class UserRolesChanged(Event, frozen=True, kw_only=True):
    """An administrator set a user's roles."""

    TYPE = "user.roles_changed.v1"
    TOPIC = TOPIC
    KEY = KEY
    user_id: str
    roles: list[str]


class UserDisabled(Event, frozen=True, kw_only=True):
    """A user may no longer sign in."""

    TYPE = "user.disabled.v1"
    TOPIC = TOPIC
    KEY = KEY
    user_id: str


class UserEnabled(Event, frozen=True, kw_only=True):
    """A disabled user may sign in again."""

    TYPE = "user.enabled.v1"
    TOPIC = TOPIC
    KEY = KEY
    user_id: str


EVENTS = (UserRegistered, UserRolesChanged, UserDisabled, UserEnabled)
