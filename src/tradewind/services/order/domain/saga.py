"""The saga of an order: every status, what may move it, what follows, what undoes it, and the deadline.

    signal              pending             confirmed           shipped, delivered    cancelled
    captured            -> confirmed, sell                                            told: given back by itself
    failed, voided      -> cancelled, release
    action_required     told
    refunded_partly     told                told                told                  told
    refunded_fully      -> cancelled, rel.  -> cancelled, ret.  told                  told
    refund_failed       told                told                told                  told
    cancel_by_...       -> cancelled, rel.  -> cancelled, ret.  illegal               illegal
    ship                illegal             -> shipped          illegal               illegal
    deliver             illegal             illegal             shipped -> delivered  illegal
    expire              -> cancelled, release

An empty field means that the signal comes too late: it is logged and nothing moves. Money is no matter of this room:
whenever an order is cancelled, payment-service gives back what was captured, then or later, because `order.cancelled.v1`
told it to. `pending` has a deadline (`ORDER_PENDING_TTL_S`); the other statuses wait for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import msgspec

from tradewind.chassis.errors import Conflict, Invalid
from tradewind.chassis.events import Event
from tradewind.contracts.order import CancelReason, OrderCancelled, OrderConfirmed, OrderDelivered, OrderShipped
from tradewind.services.order.domain.order import Order, Payment, Status, TimelineEntry
from tradewind.services.order.domain.signals import PaymentNews, Signal, SignalName
from tradewind.services.order.domain.stock import Movement

COMMANDS: frozenset[SignalName] = frozenset({"cancel_by_customer", "cancel_by_support", "ship", "deliver"})
"""Signals with somebody behind them who wants to know that they came too late."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What a signal does to an order: its next status (None: stays), what its goods do, what the timeline says."""

    says: str
    to: Status | None = None
    stock: Literal["sell", "release", "return"] | None = None
    reason: CancelReason | None = None


def _cancel_pending(reason: CancelReason) -> Step:
    return Step(says="cancelled", to="cancelled", stock="release", reason=reason)


def _cancel_confirmed(reason: CancelReason) -> Step:
    return Step(says="cancelled", to="cancelled", stock="return", reason=reason)


def _always(says: str) -> dict[Status, Step]:
    told = Step(says=says)
    return {"pending": told, "confirmed": told, "shipped": told, "delivered": told, "cancelled": told}


SAGA: Mapping[SignalName, Mapping[Status, Step]] = {
    "captured": {
        "pending": Step(says="confirmed", to="confirmed", stock="sell"),
        "cancelled": Step(says="captured_too_late"),
    },
    "failed": {"pending": _cancel_pending("declined")},
    "voided": {"pending": _cancel_pending("declined")},
    "action_required": {"pending": Step(says="action_required")},
    "refunded_partly": _always("refunded"),
    "refunded_fully": _always("refunded")
    | {"pending": _cancel_pending("refunded"), "confirmed": _cancel_confirmed("refunded")},
    "refund_failed": _always("refund_failed"),
    "cancel_by_customer": {"pending": _cancel_pending("customer"), "confirmed": _cancel_confirmed("customer")},
    "cancel_by_support": {"pending": _cancel_pending("support"), "confirmed": _cancel_confirmed("support")},
    "ship": {"confirmed": Step(says="shipped", to="shipped")},
    "deliver": {"shipped": Step(says="delivered", to="delivered")},
    "expire": {"pending": _cancel_pending("expired")},
}


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a signal came to: the order after it, goods that move, a word for the timeline, an event for the others."""

    order: Order
    movements: list[Movement]
    entry: TimelineEntry | None
    event: Event | None


def advance(order: Order, signal: Signal, now: datetime) -> Outcome | None:
    """Let `signal` act on `order`; None when it comes too late to change anything.

    Raises:
        Conflict: `illegal-transition`, a command that the order's status does not allow.
        Invalid: `payment-mismatch`, the news are of another payment or of other money than the order's.
    """
    step = SAGA[signal.name].get(order.status)
    if step is None and signal.name in COMMANDS:
        verb = signal.name.partition("_")[0]
        raise Conflict(
            "illegal-transition", f"Order {order.number} is {order.status}; it is too late, or too early, to {verb} it."
        )
    payment, refunded = order.payment, order.refunded
    if signal.news is not None:
        _check(order, signal)
        payment = _payment_after(order.payment, signal.news)
        refunded = max(refunded, signal.news.refunded or refunded)
    if step is None and payment == order.payment:
        return None
    moves_on = step is not None and step.to is not None
    after = msgspec.structs.replace(
        order,
        status=step.to if step is not None and step.to is not None else order.status,
        payment=payment,
        refunded=refunded,
        version=order.version + 1,
        event_version=order.event_version + (1 if moves_on else 0),
        updated_at=now,
    )
    if step is None:
        return Outcome(order=after, movements=[], entry=None, event=None)
    return Outcome(
        order=after,
        movements=[Movement(line.sku, step.stock, line.quantity, order.id) for line in order.lines]
        if step.stock
        else [],
        entry=TimelineEntry(
            order_id=order.id, at=now, event=step.says, cause=signal.cause, detail=_detail(step, signal)
        ),
        event=_event(order, after, step, signal),
    )


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


def _detail(step: Step, signal: Signal) -> dict[str, object]:
    return {**signal.detail, "reason": step.reason} if step.reason else signal.detail


def _event(before: Order, after: Order, step: Step, signal: Signal) -> Event | None:
    match step.to:
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
            assert step.reason is not None
            assert before.status in {"pending", "confirmed"}
            return OrderCancelled(
                order_id=after.id,
                number=after.number,
                customer_id=after.customer_id,
                payment_id=after.payment.id,
                total=after.total,
                reason=step.reason,
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
