"""How an order moves: a signal, the tables of the saga, and what comes of the two."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

import msgspec

from tradewind.chassis.errors import Conflict, Invalid
from tradewind.chassis.events import Event
from tradewind.contracts.order import (
    OrderCancelled,
    OrderConfirmed,
    OrderDelivered,
    OrderSettlementDue,
    OrderShipped,
)
from tradewind.services.order.domain.order import Order, Payment, TimelineEntry
from tradewind.services.order.domain.saga import (
    COMMANDS,
    DEADLINES,
    MAX_AGAIN_S,
    SAGA,
    DeadlineName,
    Move,
    deadline_of,
)
from tradewind.services.order.domain.signals import PaymentNews, Signal
from tradewind.services.order.domain.stock import Movement

Patience = Mapping[DeadlineName, float]
"""Seconds until each deadline."""

PATIENCE: Patience = MappingProxyType({deadline.name: deadline.after_s for deadline in DEADLINES.values()})


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a signal came to: the order after it, goods that move, a word for the timeline, an event for the others."""

    order: Order
    movements: list[Movement]
    entry: TimelineEntry | None
    event: Event | None


def with_deadline(order: Order, now: datetime, patience: Patience) -> Order:
    """`order` as it is when it has just come to its status: its deadline begins."""
    deadline = deadline_of(order)
    at = None if deadline is None else now + timedelta(seconds=patience[deadline.name])
    return msgspec.structs.replace(order, deadline_at=at, look_at=at)


def advance(order: Order, signal: Signal, now: datetime, patience: Patience = PATIENCE) -> Outcome | None:
    """Let `signal` act on `order`; None when it comes too late to change anything.

    Its times never go back, whoever's clock `now` was read from.

    Raises:
        Conflict: `illegal-transition`, a command that the order's status does not allow.
        Invalid: `payment-mismatch`, the news are of another payment or of other money than the order's.
    """
    move = SAGA[signal.name].get(order.status)
    if move is None and signal.name in COMMANDS:
        verb = signal.name.partition("_")[0]
        raise Conflict(
            "illegal-transition", f"Order {order.number} is {order.status}; it is too late, or too early, to {verb} it."
        )
    payment, refunded = order.payment, order.refunded
    if signal.news is not None:
        _check(order, signal)
        payment = _payment_after(order.payment, signal.news)
        refunded = max(refunded, signal.news.refunded or refunded)
    if move is None and payment == order.payment:
        return None
    now = max(now, order.updated_at)
    event_follows = move is not None and (move.to is not None or move.asks)
    after = msgspec.structs.replace(
        order,
        status=move.to if move is not None and move.to is not None else order.status,
        payment=payment,
        refunded=refunded,
        version=order.version + 1,
        event_version=order.event_version + (1 if event_follows else 0),
        updated_at=now,
    )
    after = _timed(order, after, signal, now, patience)
    if move is None:
        return Outcome(order=after, movements=[], entry=None, event=None)
    return Outcome(
        order=after,
        movements=[Movement(line.sku, move.stock, line.quantity, order.id) for line in order.lines]
        if move.stock
        else [],
        entry=TimelineEntry(
            order_id=order.id,
            at=now,
            event=move.says,
            cause=signal.cause,
            detail=_detail(order, move, signal),
            by=signal.by,
            event_id=signal.event_id,
            trace_id=signal.trace_id,
        ),
        event=_event(order, after, move, signal),
    )


def _timed(before: Order, after: Order, signal: Signal, now: datetime, patience: Patience) -> Order:
    deadline = deadline_of(after)
    if deadline is None or before.deadline_at is None or after.status != before.status:
        return with_deadline(after, now, patience)
    if signal.name != "overdue":
        return after
    if not deadline.again:
        return msgspec.structs.replace(after, look_at=None)
    late_s = (now - before.deadline_at).total_seconds()
    pause_s = min(max(late_s, patience[deadline.name]), MAX_AGAIN_S)
    return msgspec.structs.replace(after, look_at=now + timedelta(seconds=pause_s))


def _payment_after(payment: Payment, news: PaymentNews) -> Payment:
    if news.status is None:
        return payment
    return payment.further(news.status, code=news.code, action_url=news.action_url)


def _check(order: Order, signal: Signal) -> None:
    news = signal.news
    assert news is not None
    said = {news.amount.currency, news.refunded.currency if news.refunded else news.amount.currency}
    if news.payment_id != order.payment.id or said != {order.total.currency}:
        raise Invalid("payment-mismatch", f"Payment {news.payment_id} is not the one of order {order.id}.")
    if signal.name == "captured" and news.amount != order.total:
        raise Invalid("payment-mismatch", f"Captured {news.amount}, but order {order.id} costs {order.total}.")
    if news.refunded is not None and news.refunded > order.total:
        raise Invalid("payment-mismatch", f"Refunded {news.refunded}, but order {order.id} costs {order.total}.")


def _detail(order: Order, move: Move, signal: Signal) -> dict[str, object]:
    detail: dict[str, object] = dict(signal.detail)
    if move.reason:
        detail |= {"reason": move.reason, "was": order.status}
    if signal.name == "overdue":
        detail["deadline"] = DEADLINES[order.status].name
        detail["then"] = DEADLINES[order.status].then
    return detail


def _event(before: Order, after: Order, move: Move, signal: Signal) -> Event | None:
    if move.asks:
        return OrderSettlementDue(
            order_id=after.id,
            number=after.number,
            customer_id=after.customer_id,
            payment_id=after.payment.id,
            total=after.total,
        )
    match move.to:
        case "confirmed":
            return OrderConfirmed(
                order_id=after.id,
                number=after.number,
                customer_id=after.customer_id,
                payment_id=after.payment.id,
                total=after.total,
                lines=after.lines,
            )
        case "cancelled":
            assert move.reason is not None
            assert before.status in {"pending", "confirmed"}
            return OrderCancelled(
                order_id=after.id,
                number=after.number,
                customer_id=after.customer_id,
                payment_id=after.payment.id,
                total=after.total,
                reason=move.reason,
                was="pending" if before.status == "pending" else "confirmed",
                code=after.payment.code,
            )
        case "shipped":
            return OrderShipped(
                order_id=after.id,
                number=after.number,
                customer_id=after.customer_id,
                carrier=str(signal.detail["carrier"]),
                tracking=str(signal.detail["tracking"]),
            )
        case "delivered":
            return OrderDelivered(order_id=after.id, number=after.number, customer_id=after.customer_id)
        case _:
            return None
