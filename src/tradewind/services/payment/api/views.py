"""What of payments goes over the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tradewind.contracts.money import Money
from tradewind.services.payment.domain.charge import AttemptStatus
from tradewind.services.payment.domain.payment import Status
from tradewind.services.payment.domain.refund import RefundStatus
from tradewind.services.payment.store.reading import Shown, ShownAttempt, ShownRefund
from tradewind.services.payment.store.refunds import NewRefund


class RefundRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Give money back: `amount`, or all that is left."""

    reason: Annotated[str, Meta(min_length=1, max_length=500, description="Why, for the books and the customer.")]
    amount: Money | None = None


class RefundReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """A refund as it was asked for. Pending: the provider is being asked."""

    id: str
    status: RefundStatus
    amount: Money


class AttemptView(msgspec.Struct, frozen=True, kw_only=True):
    """One try to get the money of a payment, at one provider. `code` says why it failed."""

    id: str
    status: AttemptStatus
    provider: str
    created_at: datetime
    code: str | UnsetType = UNSET


class RefundView(msgspec.Struct, frozen=True, kw_only=True):
    """A refund of a payment."""

    id: str
    status: RefundStatus
    amount: Money
    reason: str
    created_at: datetime
    code: str | UnsetType = UNSET


class NextAction(msgspec.Struct, frozen=True, kw_only=True):
    """What the customer has to do: go to `url`, then confirm the payment."""

    type: Literal["redirect"] = "redirect"
    url: str


class PaymentView(msgspec.Struct, frozen=True, kw_only=True):
    """The payment of an order: the intent to be paid so much, the attempts at it, and what went back. `code`: why it failed."""

    id: str
    order_id: str
    status: Status
    amount: Money
    captured: Money
    refunded: Money
    attempts: list[AttemptView]
    refunds: list[RefundView]
    created_at: datetime
    updated_at: datetime
    code: str | UnsetType = UNSET
    next_action: NextAction | UnsetType = UNSET


def payment_view(shown: Shown) -> PaymentView:
    """A payment, as its customer may see it."""
    payment = shown.payment
    waiting = payment.status is Status.REQUIRES_ACTION and payment.action_url is not None
    return PaymentView(
        id=payment.id,
        order_id=payment.order_id,
        status=payment.status,
        amount=payment.amount,
        captured=payment.money(payment.captured_minor),
        refunded=payment.money(payment.refunded_minor),
        attempts=[_attempt_view(attempt) for attempt in shown.attempts],
        refunds=[_refund_view(shown, refund) for refund in shown.refunds],
        created_at=shown.created_at,
        updated_at=shown.updated_at,
        code=payment.code or UNSET,
        next_action=NextAction(url=payment.action_url or "") if waiting else UNSET,
    )


def refund_receipt(new: NewRefund) -> RefundReceipt:
    """The answer to a request for a refund."""
    return RefundReceipt(id=new.refund.id, status=new.refund.status, amount=new.amount)


def _attempt_view(found: ShownAttempt) -> AttemptView:
    attempt = found.attempt
    return AttemptView(
        id=attempt.id,
        status=attempt.status,
        provider=attempt.provider,
        created_at=found.created_at,
        code=attempt.code or UNSET,
    )


def _refund_view(shown: Shown, found: ShownRefund) -> RefundView:
    refund = found.refund
    return RefundView(
        id=refund.id,
        status=refund.status,
        amount=shown.payment.money(refund.amount_minor),
        reason=refund.reason,
        created_at=found.created_at,
        code=refund.code or UNSET,
    )
