"""What can move an order: the payment's news, a person's command, a deadline."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from tradewind.chassis.ids import is_id
from tradewind.contracts.money import Money
from tradewind.contracts.payment import (
    PaymentAuthorized,
    PaymentCancelled,
    PaymentCaptured,
    PaymentFailed,
    PaymentRefunded,
    PaymentRefundFailed,
    PaymentRequiresAction,
)
from tradewind.services.order.domain.order import PaymentStatus

News: TypeAlias = Literal[
    "action_required",
    "authorized",
    "captured",
    "failed",
    "voided",
    "refunded_partly",
    "refunded_fully",
    "refund_failed",
]
Command: TypeAlias = Literal["cancel_by_customer", "cancel_by_support", "ship", "deliver"]
SignalName: TypeAlias = News | Command | Literal["overdue"]

PaymentEvent: TypeAlias = (
    PaymentRequiresAction
    | PaymentAuthorized
    | PaymentCaptured
    | PaymentFailed
    | PaymentCancelled
    | PaymentRefunded
    | PaymentRefundFailed
)


class PaymentNews(msgspec.Struct, frozen=True, kw_only=True):
    """What a payment event says of the payment. `amount` is what it speaks of, `refunded` the total given back so far.

    `status` is None where the event does not change the payment's.
    """

    payment_id: str
    amount: Money
    status: PaymentStatus | None = None
    code: str | None = None
    action_url: str | None = None
    refunded: Money | None = None


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that may move an order. All but `name` and `news` goes into the timeline."""

    name: SignalName
    cause: str
    detail: dict[str, Any] = {}
    news: PaymentNews | None = None
    by: str | None = None
    event_id: str | None = None
    trace_id: str | None = None


def heard(event: PaymentEvent) -> Signal:
    """What a payment event means to its order."""
    match event:
        case PaymentRequiresAction():
            return _news(
                event,
                "action_required",
                {"amount": event.amount},
                status="requires_action",
                action_url=event.action_url,
            )
        case PaymentAuthorized():
            return _news(event, "authorized", {"amount": event.amount}, status="authorized")
        case PaymentCaptured():
            return _news(event, "captured", {"amount": event.amount}, status="captured")
        case PaymentFailed():
            return _news(event, "failed", {"code": event.code}, status="failed", code=event.code)
        case PaymentCancelled():
            return _news(event, "voided", status="cancelled")
        case PaymentRefunded():
            fully = event.refunded >= event.captured
            return _news(
                event,
                "refunded_fully" if fully else "refunded_partly",
                {"amount": event.amount, "refund_reason": event.reason, "refund_id": event.refund_id},
                status="refunded" if fully else "partially_refunded",
                refunded=event.refunded,
                by=event.requested_by,
            )
        case PaymentRefundFailed():
            return _news(
                event,
                "refund_failed",
                {"amount": event.amount, "code": event.code, "refund_id": event.refund_id},
                by=event.requested_by,
            )


def cancel(*, by_customer: bool, by: str | None = None) -> Signal:
    """Somebody does not want the order any more: its customer, or our support. `by` is who."""
    if by_customer:
        return Signal(name="cancel_by_customer", cause="customer", by=by)
    return Signal(name="cancel_by_support", cause="support", by=by)


def ship(carrier: str, tracking: str, *, by: str | None = None) -> Signal:
    """The goods were given to `carrier`."""
    return Signal(name="ship", cause="support", detail={"carrier": carrier, "tracking": tracking}, by=by)


def deliver(*, by: str | None = None) -> Signal:
    """The goods arrived."""
    return Signal(name="deliver", cause="support", by=by)


def overdue() -> Signal:
    """The deadline of the order's status has passed."""
    return Signal(name="overdue", cause="deadline")


def _news(
    event: PaymentEvent, name: News, detail: dict[str, Any] | None = None, *, by: str | None = None, **said: Any
) -> Signal:
    # Nobody's word about who asked may stop the word about the money.
    person = by if by is not None and is_id(by) else None
    return Signal(
        name=name,
        cause=event.TYPE,
        detail=detail or {},
        by=person,
        news=PaymentNews(payment_id=event.payment_id, amount=event.amount, **said),
    )
