"""The bus door: a room's handlers for the events it hears, and the loop that feeds them.

    handlers = Handlers[Parts]()

    @handlers.on(PaymentCaptured)
    async def confirm(parts: Parts, tx: Tx, event: Received[PaymentCaptured]) -> None:
        await usecases.confirm_order(parts, tx, event.data.order_id)

A whole fetched batch is one transaction: the inbox rows, what the handlers do, and the events they add to the outbox.
"""

from tradewind.chassis.consumer.handlers import Handlers
from tradewind.chassis.consumer.loop import LINGER_S, Consumer
from tradewind.chassis.consumer.verdict import RetryPolicy

__all__ = ["LINGER_S", "Consumer", "Handlers", "RetryPolicy"]
