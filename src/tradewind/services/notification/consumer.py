"""The bus door of notification-service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tradewind.chassis.consumer import Handlers
from tradewind.chassis.events import Received
from tradewind.chassis.postgres import Tx
from tradewind.contracts.auth import UserRegistered
from tradewind.contracts.order import OrderCancelled, OrderConfirmed, OrderDelivered, OrderShipped
from tradewind.contracts.payment import PaymentRefunded, PaymentRequiresAction
from tradewind.contracts.user import UserProfileChanged
from tradewind.services.notification import usecases
from tradewind.services.notification.parts import Parts

handlers: Handlers[Parts] = Handlers()


@handlers.on_batch(
    UserRegistered, OrderConfirmed, OrderCancelled, OrderShipped, OrderDelivered, PaymentRefunded, PaymentRequiresAction
)
async def notify(parts: Parts, tx: Tx, events: Sequence[Received[Any]]) -> None:
    """Tell the customers."""
    await usecases.notify(parts, tx, events)


@handlers.on(UserProfileChanged)
async def rename(_parts: Parts, tx: Tx, event: Received[UserProfileChanged]) -> None:
    """Use the new name in mails from now on."""
    await usecases.rename_contact(tx, event.data.user_id, event.data.name)
