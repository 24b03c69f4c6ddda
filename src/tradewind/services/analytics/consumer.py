"""The bus door of analytics-service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tradewind.chassis.consumer import Handlers
from tradewind.chassis.events import Received
from tradewind.chassis.postgres import Tx
from tradewind.contracts.order import OrderCancelled, OrderConfirmed, OrderPlaced
from tradewind.contracts.payment import PaymentCaptured, PaymentRefunded
from tradewind.services.analytics import usecases
from tradewind.services.analytics.parts import Parts

handlers: Handlers[Parts] = Handlers()


@handlers.on_batch(OrderPlaced)
async def placed(_parts: Parts, tx: Tx, events: Sequence[Received[OrderPlaced]]) -> None:
    """Count placed orders."""
    await usecases.count_placed(tx, events)


@handlers.on_batch(OrderConfirmed)
async def confirmed(_parts: Parts, tx: Tx, events: Sequence[Received[OrderConfirmed]]) -> None:
    """Count confirmed orders."""
    await usecases.count_confirmed(tx, events)


@handlers.on_batch(OrderCancelled)
async def cancelled(_parts: Parts, tx: Tx, events: Sequence[Received[OrderCancelled]]) -> None:
    """Count cancelled orders."""
    await usecases.count_cancelled(tx, events)


@handlers.on_batch(PaymentCaptured, PaymentRefunded)
async def money(_parts: Parts, tx: Tx, events: Sequence[Received[Any]]) -> None:
    """Count money that moved."""
    await usecases.count_money(tx, events)
