"""What order-service says has happened. Key and subject: the order's id."""

from __future__ import annotations

from typing import Literal

import msgspec

from tradewind.chassis.events import Event
from tradewind.contracts.money import Money

TOPIC = "order"
KEY = "order_id"

CancelReason = Literal["declined", "customer", "support", "expired", "refunded"]


class OrderLine(msgspec.Struct, frozen=True, kw_only=True):
    """One article of an order at the price it had when the order was placed."""

    sku: str
    name: str
    quantity: int
    unit_price: Money
    total: Money


class OrderPlaced(Event, frozen=True, kw_only=True):
    """An order holds its stock and waits for its money. `payment_method` is the provider's handle, never card data."""

    TYPE = "order.placed.v1"
    TOPIC = TOPIC
    KEY = KEY
    order_id: str
    number: str
    customer_id: str
    payment_id: str
    payment_method: str
    total: Money
    lines: list[OrderLine]


class OrderConfirmed(Event, frozen=True, kw_only=True):
    """The money is captured and the stock is sold."""

    TYPE = "order.confirmed.v1"
    TOPIC = TOPIC
    KEY = KEY
    order_id: str
    number: str
    customer_id: str
    payment_id: str
    total: Money
    lines: list[OrderLine]


class OrderCancelled(Event, frozen=True, kw_only=True):
    """The order ended before it was shipped; its stock is free again, and whatever was captured goes back."""

    TYPE = "order.cancelled.v1"
    TOPIC = TOPIC
    KEY = KEY
    order_id: str
    number: str
    customer_id: str
    payment_id: str
    total: Money
    reason: CancelReason
    was: Literal["pending", "confirmed"]
    code: str | None = None


class OrderSettlementDue(Event, frozen=True, kw_only=True):
    """A cancelled order's payment is not at its end although it should be: whoever holds its money is to let go of it.

    Asks for nothing that `order.cancelled.v1` has not asked for, and may come more than once.
    """

    TYPE = "order.settlement_due.v1"
    TOPIC = TOPIC
    KEY = KEY
    order_id: str
    number: str
    customer_id: str
    payment_id: str
    total: Money


class OrderShipped(Event, frozen=True, kw_only=True):
    """The goods left the house; from now on a refund does not cancel."""

    TYPE = "order.shipped.v1"
    TOPIC = TOPIC
    KEY = KEY
    order_id: str
    number: str
    customer_id: str
    carrier: str
    tracking: str


class OrderDelivered(Event, frozen=True, kw_only=True):
    """The goods arrived."""

    TYPE = "order.delivered.v1"
    TOPIC = TOPIC
    KEY = KEY
    order_id: str
    number: str
    customer_id: str


EVENTS = (OrderPlaced, OrderConfirmed, OrderCancelled, OrderSettlementDue, OrderShipped, OrderDelivered)
