"""What an order is."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, TypeAlias

import msgspec

from tradewind.contracts.money import Money
from tradewind.contracts.order import OrderLine

Status: TypeAlias = Literal["pending", "confirmed", "shipped", "delivered", "cancelled"]

PaymentStatus: TypeAlias = Literal[
    "processing", "requires_action", "authorized", "failed", "cancelled", "captured", "partially_refunded", "refunded"
]
"""How far the payment is, as far as we have heard. In this order: whatever order the news arrive in, it only goes on."""

_PROGRESS: tuple[PaymentStatus, ...] = (
    "processing", "requires_action", "authorized", "failed", "cancelled", "captured", "partially_refunded", "refunded",
)  # fmt: skip


class Address(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the goods go. `country` is an ISO 3166-1 alpha-2 code."""

    name: str
    line1: str
    city: str
    postal_code: str
    country: str
    line2: str | None = None
    region: str | None = None


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """An order's view of its one payment. `code` is why it failed, `action_url` where the customer has to go."""

    id: str
    status: PaymentStatus = "processing"
    code: str | None = None
    action_url: str | None = None

    def further(self, status: PaymentStatus, *, code: str | None, action_url: str | None) -> Payment:
        """The payment after news that it is `status`; older news than what we know change nothing."""
        if _PROGRESS.index(status) <= _PROGRESS.index(self.status):
            return self
        return Payment(id=self.id, status=status, code=code, action_url=action_url)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """An order as it stands.

    `version` counts its changes and makes the entity tag; `event_version` counts those that others are told of and goes
    with the events, so that their versions have no gap. `serial` grows from order to order. `deadline_at` is until when the next step
    is awaited, None at the end; `look_at` when the deadline job acts next, None when it has done what it can.
    """

    id: str
    serial: int
    customer_id: str
    status: Status
    lines: list[OrderLine]
    total: Money
    refunded: Money
    payment: Payment
    shipping_address: Address
    version: int
    event_version: int
    created_at: datetime
    updated_at: datetime
    deadline_at: datetime | None = None
    look_at: datetime | None = None

    @property
    def number(self) -> str:
        """What people call it: `TW-000042`."""
        return f"TW-{self.serial:06d}"


class TimelineEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One sentence of an order's story. `cause` is `customer`, `support`, `deadline` or the type of an event.

    `by` is the subject of a person who gave a command, `event_id` the event that brought news, `trace_id` its trace.
    """

    order_id: str
    at: datetime
    event: str
    cause: str
    detail: dict[str, Any]
    by: str | None = None
    event_id: str | None = None
    trace_id: str | None = None
