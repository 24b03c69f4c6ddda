"""The bus door of auth-service."""

from __future__ import annotations

from tradewind.chassis.consumer import Handlers
from tradewind.chassis.events import Received
from tradewind.chassis.postgres import Tx
from tradewind.contracts.user import UserProfileChanged
from tradewind.services.auth import usecases
from tradewind.services.auth.parts import Parts

handlers: Handlers[Parts] = Handlers()


@handlers.on(UserProfileChanged)
async def follow_name(_parts: Parts, tx: Tx, event: Received[UserProfileChanged]) -> None:
    """A user goes by another name: so do the tokens from now on."""
    await usecases.follow_name(tx, user_id=event.data.user_id, name=event.data.name, profile_version=event.version)
