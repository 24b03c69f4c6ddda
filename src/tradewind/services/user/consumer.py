"""The bus door of user-service: what auth-service says of accounts."""

from __future__ import annotations

from tradewind.chassis.consumer import Handlers
from tradewind.chassis.events import Received
from tradewind.chassis.postgres import Tx
from tradewind.contracts.auth import UserDisabled, UserEnabled, UserRegistered, UserRolesChanged
from tradewind.services.user import usecases
from tradewind.services.user.parts import Parts

handlers: Handlers[Parts] = Handlers()


@handlers.on(UserRegistered)
async def registered(_parts: Parts, tx: Tx, event: Received[UserRegistered]) -> None:
    """Somebody is new."""
    await usecases.follow_registration(tx, event)


@handlers.on(UserRolesChanged)
async def roles_changed(_parts: Parts, tx: Tx, event: Received[UserRolesChanged]) -> None:
    """A user has other roles."""
    await usecases.follow_roles(tx, user_id=event.data.user_id, roles=event.data.roles, account_version=event.version)


@handlers.on(UserDisabled)
async def disabled(_parts: Parts, tx: Tx, event: Received[UserDisabled]) -> None:
    """A user may no longer sign in."""
    await usecases.follow_disabling(tx, user_id=event.data.user_id, disabled=True, account_version=event.version)


@handlers.on(UserEnabled)
async def enabled(_parts: Parts, tx: Tx, event: Received[UserEnabled]) -> None:
    """A user may sign in again."""
    await usecases.follow_disabling(tx, user_id=event.data.user_id, disabled=False, account_version=event.version)
