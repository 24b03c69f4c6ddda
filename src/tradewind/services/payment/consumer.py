"""The bus door: what orders say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tradewind.chassis.consumer import Handlers
from tradewind.chassis.events import Received
from tradewind.chassis.postgres import Tx
from tradewind.contracts.order import OrderCancelled, OrderPlaced, OrderSettlementDue
from tradewind.services.payment import usecases
from tradewind.services.payment.parts import Parts

handlers: Handlers[Parts] = Handlers()


@handlers.on_batch(OrderPlaced)
async def begin_payments(parts: Parts, tx: Tx, events: Sequence[Received[OrderPlaced]]) -> None:
    """An order wants its money."""
    await usecases.begin_payments(parts, tx, events)


@handlers.on_batch(OrderCancelled, OrderSettlementDue)
async def abandon_orders(parts: Parts, tx: Tx, events: Sequence[Received[Any]]) -> None:
    """An order wants none any more, or wants it back, or asks where it is."""
    await usecases.abandon_orders(parts, tx, events)
