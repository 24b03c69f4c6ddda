"""What analytics-service can do."""

from __future__ import annotations

from collections.abc import Sequence

from tradewind.chassis.events import Received
from tradewind.chassis.postgres import Tx
from tradewind.contracts.order import OrderCancelled, OrderConfirmed, OrderPlaced
from tradewind.contracts.payment import PaymentCaptured, PaymentRefunded
from tradewind.services.analytics import store
from tradewind.services.analytics.domain import Interval, Period, Revenue, Summary, TopProduct, average
from tradewind.services.analytics.parts import Parts


async def count_placed(tx: Tx, events: Sequence[Received[OrderPlaced]]) -> None:
    """Count orders that were placed."""
    orders = [
        store.OrderFact(
            order_id=event.data.order_id,
            customer_id=event.data.customer_id,
            currency=event.data.total.currency,
            total_minor=event.data.total.amount_minor,
            placed_at=event.time,
        )
        for event in events
    ]
    lines = [
        store.LineFact(
            order_id=event.data.order_id,
            line=number,
            sku=line.sku,
            name=line.name,
            quantity=line.quantity,
            amount_minor=line.total.amount_minor,
        )
        for event in events
        for number, line in enumerate(event.data.lines)
    ]
    await store.save_orders(tx, orders, lines)


async def count_confirmed(tx: Tx, events: Sequence[Received[OrderConfirmed]]) -> None:
    """Count orders that were confirmed."""
    await store.confirm_orders(tx, [event.data.order_id for event in events], [event.time for event in events])


async def count_cancelled(tx: Tx, events: Sequence[Received[OrderCancelled]]) -> None:
    """Count orders that were cancelled."""
    await store.cancel_orders(tx, [event.data.order_id for event in events], [event.time for event in events])


async def count_money(tx: Tx, events: Sequence[Received[PaymentCaptured] | Received[PaymentRefunded]]) -> None:
    """Count money that moved, in either direction."""
    await store.save_money(
        tx,
        [
            store.MoneyFact(
                event_id=event.id,
                order_id=event.data.order_id,
                kind="captured" if isinstance(event.data, PaymentCaptured) else "refunded",
                currency=event.data.amount.currency,
                amount_minor=event.data.amount.amount_minor,
                moved_at=event.time,
            )
            for event in events
        ],
    )


async def summarise(parts: Parts, period: Period) -> list[Summary]:
    """The figures of a period, a row per currency."""
    return [
        Summary(
            **row,
            net=row["gross"] - row["refunded"],
            average_order=average(row["gross"], row["confirmed"]),
        )
        for row in await store.summary(parts.database.read, period)
    ]


async def list_revenue(parts: Parts, period: Period, interval: Interval, *, limit: int) -> list[Revenue]:
    """Money by interval, newest first."""
    rows = await store.revenue(parts.database.read, period, interval, limit=limit)
    return [Revenue(**row, net=row["gross"] - row["refunded"]) for row in rows]


async def list_top_products(parts: Parts, period: Period, *, limit: int) -> list[TopProduct]:
    """The products that sold most."""
    return [TopProduct(**row) for row in await store.top_products(parts.database.read, period, limit=limit)]
