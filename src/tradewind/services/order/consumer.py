"""The bus door of order-service: what payments say of their orders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tradewind.chassis.consumer import Handlers
from tradewind.chassis.events import Received
from tradewind.chassis.postgres import Tx
from tradewind.contracts.payment import (
    PaymentAuthorized,
    PaymentCancelled,
    PaymentCaptured,
    PaymentFailed,
    PaymentRefunded,
    PaymentRefundFailed,
    PaymentRequiresAction,
)
from tradewind.services.order.parts import Parts
from tradewind.services.order.usecases import ordering

handlers: Handlers[Parts] = Handlers()


@handlers.on_batch(
    PaymentRequiresAction,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentFailed,
    PaymentCancelled,
    PaymentRefunded,
    PaymentRefundFailed,
)
async def hear_payments(parts: Parts, tx: Tx, events: Sequence[Received[Any]]) -> None:
    """What each kind of news means is the saga's to say."""
    await ordering.hear_payments(parts, tx, events)
