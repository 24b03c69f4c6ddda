"""The saga of an order, as data: its steps with what undoes them, what moves it, and the deadline of every status.

`SAGA` says where a signal leads from a status. A field that is absent means that the signal comes too late: commands
are refused, news are logged, and nothing moves. `DEADLINES` says how long a status may last and what happens then;
`STEPS` what each step of the whole needs others for, what undoes it, and who tries again. `docs/concepts/saga.md` shows
the three tables and is held against them by a test; `moving.py` acts on the first two.

Money is no matter of this room: whenever an order is cancelled, payment-service gives back what was captured, then or
later, because `order.cancelled.v1` told it to, and `order.settlement_due.v1` asks again where that was not enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

from tradewind.contracts.order import CancelReason
from tradewind.services.order.domain.order import Order, PaymentStatus, Status
from tradewind.services.order.domain.signals import SignalName

COMMANDS: frozenset[SignalName] = frozenset({"cancel_by_customer", "cancel_by_support", "ship", "deliver"})
"""Signals with somebody behind them who wants to know that they came too late."""


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """What a signal does to an order: its next status (None: stays), what its goods do, what the timeline says.

    `asks`: payment-service is asked again for the money.
    """

    says: str
    to: Status | None = None
    stock: Literal["sell", "release", "return"] | None = None
    reason: CancelReason | None = None
    asks: bool = False


def _cancel_pending(reason: CancelReason) -> Move:
    return Move(says="cancelled", to="cancelled", stock="release", reason=reason)


def _cancel_confirmed(reason: CancelReason) -> Move:
    return Move(says="cancelled", to="cancelled", stock="return", reason=reason)


def _always(says: str) -> dict[Status, Move]:
    told = Move(says=says)
    return {"pending": told, "confirmed": told, "shipped": told, "delivered": told, "cancelled": told}


SAGA: Mapping[SignalName, Mapping[Status, Move]] = {
    "action_required": {"pending": Move(says="action_required")},
    "authorized": {"pending": Move(says="authorized")},
    "captured": {
        "pending": Move(says="confirmed", to="confirmed", stock="sell"),
        "cancelled": Move(says="captured_too_late"),
    },
    "failed": {"pending": _cancel_pending("declined"), "cancelled": Move(says="payment_failed")},
    "voided": {"pending": _cancel_pending("declined"), "cancelled": Move(says="payment_cancelled")},
    "refunded_partly": _always("refunded"),
    "refunded_fully": _always("refunded")
    | {"pending": _cancel_pending("refunded"), "confirmed": _cancel_confirmed("refunded")},
    "refund_failed": _always("refund_failed"),
    "cancel_by_customer": {"pending": _cancel_pending("customer"), "confirmed": _cancel_confirmed("customer")},
    "cancel_by_support": {"pending": _cancel_pending("support"), "confirmed": _cancel_confirmed("support")},
    "ship": {"confirmed": Move(says="shipped", to="shipped")},
    "deliver": {"shipped": Move(says="delivered", to="delivered")},
    "overdue": {
        "pending": _cancel_pending("expired"),
        "confirmed": Move(says="overdue"),
        "shipped": Move(says="overdue"),
        "cancelled": Move(says="overdue", asks=True),
    },
}

DeadlineName: TypeAlias = Literal["payment", "shipping", "delivery", "settlement"]
Consequence: TypeAlias = Literal["cancelled", "support_told", "payment_asked_again"]


class Deadline(msgspec.Struct, frozen=True, kw_only=True):
    """How long a status may last: `after_s` by default, `setting` changes it. `then` happens once it has passed.

    `again`: it passes again and again until the order moves, after twice the time each, a day at most.
    """

    name: DeadlineName
    setting: str
    after_s: float
    waits_for: str
    then: Consequence
    again: bool = False


MAX_AGAIN_S = 86_400.0

DEADLINES: Mapping[Status, Deadline] = {
    "pending": Deadline(
        name="payment",
        setting="ORDER_PENDING_TTL_S",
        after_s=900.0,
        waits_for="the money: the customer's approval, the provider, payment-service",
        then="cancelled",
    ),
    "confirmed": Deadline(
        name="shipping",
        setting="ORDER_SHIPPING_TTL_S",
        after_s=3 * 86_400.0,
        waits_for="support, to ship it",
        then="support_told",
    ),
    "shipped": Deadline(
        name="delivery",
        setting="ORDER_DELIVERY_TTL_S",
        after_s=14 * 86_400.0,
        waits_for="support, to note that it arrived",
        then="support_told",
    ),
    "cancelled": Deadline(
        name="settlement",
        setting="ORDER_SETTLEMENT_TTL_S",
        after_s=600.0,
        waits_for="payment-service, to say that no money moved or that all of it went back",
        then="payment_asked_again",
        again=True,
    ),
}
"""`delivered` is the end. A cancelled order is at its end, too, once its payment is."""

SETTLED: frozenset[PaymentStatus] = frozenset({"failed", "cancelled", "refunded"})
"""Where the payment of a cancelled order holds no money any more."""


def deadline_of(order: Order) -> Deadline | None:
    """What `order` waits for; None at its end."""
    if order.status == "cancelled" and order.payment.status in SETTLED:
        return None
    return DEADLINES.get(order.status)


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the saga: who does it and how, which deadline it is under, what undoes it, who tries it again."""

    name: str
    by: str
    how: str
    deadline: DeadlineName | None
    undone_by: str
    tried_again_by: str


STEPS: tuple[Step, ...] = (
    Step(
        name="place",
        by="order-service",
        how="one transaction: key, order, reserved stock, `order.placed.v1`",
        deadline=None,
        undone_by="cancel",
        tried_again_by="the customer, under the same Idempotency-Key",
    ),
    Step(
        name="ask for the money",
        by="payment-service",
        how="payment and attempt are written down, then the provider is asked under the attempt's key",
        deadline="payment",
        undone_by="void, or give back",
        tried_again_by="payment-service: reconciliation from 2 s on, under the same key",
    ),
    Step(
        name="approve",
        by="the customer",
        how="at the provider's page (`requires_action`), then `POST /v1/payments/{id}/confirm`",
        deadline="payment",
        undone_by="void",
        tried_again_by="the customer",
    ),
    Step(
        name="confirm",
        by="order-service",
        how="`payment.captured.v1` sells the stock; `order.confirmed.v1`",
        deadline="payment",
        undone_by="cancel",
        tried_again_by="the bus, until the inbox has it",
    ),
    Step(
        name="ship",
        by="support",
        how="`POST /v1/orders/{id}/ship`; from here on nothing cancels",
        deadline="shipping",
        undone_by="nothing: a refund leaves the status",
        tried_again_by="support, under the same Idempotency-Key",
    ),
    Step(
        name="deliver",
        by="support",
        how="`POST /v1/orders/{id}/deliver`",
        deadline="delivery",
        undone_by="nothing: a refund leaves the status",
        tried_again_by="support, under the same Idempotency-Key",
    ),
    Step(
        name="cancel",
        by="order-service",
        how="the stock is released or returned; `order.cancelled.v1`",
        deadline=None,
        undone_by="nothing: it undoes the others",
        tried_again_by="whoever asked; the deadline job for what expires",
    ),
    Step(
        name="give back",
        by="payment-service",
        how="a void where nothing was captured, a refund of all that is left where it was, also when that shows later",
        deadline="settlement",
        undone_by="nothing: it undoes the others",
        tried_again_by="payment-service without end; order-service asks again with `order.settlement_due.v1`",
    ),
)
