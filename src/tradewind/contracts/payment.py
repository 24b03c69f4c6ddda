"""What payment-service says has happened. Key and subject: the payment's id. An order has one payment."""

from __future__ import annotations

from tradewind.chassis.events import Event
from tradewind.contracts.money import Money

TOPIC = "payment"
KEY = "payment_id"


class PaymentRequiresAction(Event, frozen=True, kw_only=True):
    """The customer must do something at the provider (3-D Secure) before the money moves."""

    TYPE = "payment.requires_action.v1"
    TOPIC = TOPIC
    KEY = KEY
    payment_id: str
    order_id: str
    customer_id: str
    amount: Money
    action_url: str


class PaymentAuthorized(Event, frozen=True, kw_only=True):
    """The money is held for us, and not yet taken: told where payments are authorized and captured in two steps."""

    TYPE = "payment.authorized.v1"
    TOPIC = TOPIC
    KEY = KEY
    payment_id: str
    order_id: str
    customer_id: str
    amount: Money


class PaymentCaptured(Event, frozen=True, kw_only=True):
    """The money is ours, by the provider's word and in the ledger."""

    TYPE = "payment.captured.v1"
    TOPIC = TOPIC
    KEY = KEY
    payment_id: str
    order_id: str
    customer_id: str
    amount: Money


class PaymentFailed(Event, frozen=True, kw_only=True):
    """No money moved and none will. `code` is the provider's reason, such as `card_declined`."""

    TYPE = "payment.failed.v1"
    TOPIC = TOPIC
    KEY = KEY
    payment_id: str
    order_id: str
    customer_id: str
    amount: Money
    code: str


class PaymentCancelled(Event, frozen=True, kw_only=True):
    """The order was cancelled before any money moved: what was held was let go of (a void)."""

    TYPE = "payment.cancelled.v1"
    TOPIC = TOPIC
    KEY = KEY
    payment_id: str
    order_id: str
    customer_id: str
    amount: Money


class PaymentRefunded(Event, frozen=True, kw_only=True):
    """A refund succeeded at the provider and is in the ledger. `refunded` and `captured` are the payment's totals now.

    `requested_by` is the id of who asked for it; absent: nobody did, the order was cancelled.
    """

    TYPE = "payment.refunded.v1"
    TOPIC = TOPIC
    KEY = KEY
    payment_id: str
    order_id: str
    customer_id: str
    refund_id: str
    amount: Money
    refunded: Money
    captured: Money
    reason: str
    requested_by: str | None = None


class PaymentRefundFailed(Event, frozen=True, kw_only=True):
    """The provider refused a refund for good; the amount may be refunded again. `requested_by` is the id of who asked for it."""

    TYPE = "payment.refund_failed.v1"
    TOPIC = TOPIC
    KEY = KEY
    payment_id: str
    order_id: str
    customer_id: str
    refund_id: str
    amount: Money
    code: str
    requested_by: str | None = None


EVENTS = (
    PaymentRequiresAction,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentFailed,
    PaymentCancelled,
    PaymentRefunded,
    PaymentRefundFailed,
)
