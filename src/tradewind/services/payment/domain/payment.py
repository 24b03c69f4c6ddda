"""What is true of a payment: where it stands, what it may become, and how much of it may go back.

Pure. A move returns the payment as it is afterwards; a move that the world is told of makes its `version` one higher, so
that versions count events and have no gap. Always: refunded + refunding <= captured <= amount.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec
from msgspec.structs import replace

from tradewind.chassis.errors import Conflict, FieldError, Invalid
from tradewind.contracts.money import Money


class Status(StrEnum):
    """Where a payment stands. `processing` is also: we asked, and do not know what came of it."""

    PROCESSING = "processing"
    REQUIRES_ACTION = "requires_action"
    AUTHORIZED = "authorized"
    CAPTURED = "captured"
    PARTIALLY_REFUNDED = "partially_refunded"
    REFUNDED = "refunded"
    FAILED = "failed"
    CANCELLED = "cancelled"


MOVES: dict[Status, frozenset[Status]] = {
    Status.PROCESSING: frozenset(
        {Status.REQUIRES_ACTION, Status.AUTHORIZED, Status.CAPTURED, Status.FAILED, Status.CANCELLED}
    ),
    Status.REQUIRES_ACTION: frozenset(
        {Status.PROCESSING, Status.AUTHORIZED, Status.CAPTURED, Status.FAILED, Status.CANCELLED}
    ),
    # Where money is authorized and captured in one step no payment stands here. To `cancelled` is a void: no money moved.
    Status.AUTHORIZED: frozenset({Status.CAPTURED, Status.FAILED, Status.CANCELLED}),
    Status.CAPTURED: frozenset({Status.PARTIALLY_REFUNDED, Status.REFUNDED}),
    Status.PARTIALLY_REFUNDED: frozenset({Status.PARTIALLY_REFUNDED, Status.REFUNDED}),
    Status.REFUNDED: frozenset(),
    Status.FAILED: frozenset(),
    # A charge we had given up may still land; then the money is real, and goes back from `captured`.
    Status.CANCELLED: frozenset({Status.CAPTURED}),
}
"""Every move there is. Whatever is not here is refused."""


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """The payment of one order. `version` counts its events, `revision` every change of its row."""

    id: str
    order_id: str
    customer_id: str
    amount: Money
    payment_method: str = ""
    status: Status = Status.PROCESSING
    code: str | None = None
    action_url: str | None = None
    captured_minor: int = 0
    refunding_minor: int = 0
    refunded_minor: int = 0
    order_cancelled: bool = False
    version: int = 0
    revision: int = 0

    @property
    def refundable_minor(self) -> int:
        """What may still be asked back: refunds under way count as gone."""
        return self.captured_minor - self.refunded_minor - self.refunding_minor

    def money(self, amount_minor: int) -> Money:
        """An amount in the payment's currency."""
        return Money(amount_minor, self.amount.currency)


def authorize(payment: Payment) -> Payment:
    """The whole amount is held for us."""
    return replace(_told(payment, Status.AUTHORIZED), action_url=None)


def capture(payment: Payment) -> Payment:
    """The whole amount is ours."""
    moved = _told(payment, Status.CAPTURED)
    return replace(moved, captured_minor=payment.amount.amount_minor, action_url=None)


def require_action(payment: Payment, url: str) -> Payment:
    """The customer has to go to `url` first."""
    return replace(_told(payment, Status.REQUIRES_ACTION), action_url=url)


def resume(payment: Payment) -> Payment:
    """The customer has been there, or the order is cancelled: the provider is asked again. Nobody is told."""
    return _moved(payment, Status.PROCESSING)


def wait_again(payment: Payment) -> Payment:
    """It turned out that the customer has not been there yet. Everybody still thinks so, so nobody is told."""
    return _moved(payment, Status.REQUIRES_ACTION)


def awaits_confirmation(payment: Payment) -> bool:
    """Whether the customer's word is what the payment waits for; False where that has long been said.

    Raises:
        Conflict: `illegal-transition`, the payment failed or was cancelled.
    """
    if payment.status in (Status.FAILED, Status.CANCELLED):
        raise Conflict("illegal-transition", f"The payment is {payment.status}.")
    return payment.status is Status.REQUIRES_ACTION


def fail(payment: Payment, code: str) -> Payment:
    """No money moved, and none will."""
    return replace(_told(payment, Status.FAILED), code=code, action_url=None)


def cancel(payment: Payment) -> Payment:
    """The order is gone and no money moved."""
    return replace(_told(payment, Status.CANCELLED), action_url=None)


def cancel_order(payment: Payment) -> Payment:
    """Remember that the order is cancelled: what is captured from now on goes back."""
    return replace(payment, order_cancelled=True)


def reserve_refund(payment: Payment, amount: Money | None) -> tuple[Payment, int]:
    """Set `amount` aside for a refund, or all that is left; returns it in minor units.

    Raises:
        Invalid: 422, the amount is not positive or in another currency.
        Conflict: `refund-exceeds-captured`.
    """
    amount_minor = payment.refundable_minor if amount is None else _checked(payment, amount)
    if amount_minor > payment.refundable_minor or amount_minor == 0:
        left = payment.refundable_minor
        raise Conflict(
            "refund-exceeds-captured", f"{left} minor units of {payment.amount.currency} are left to refund."
        )
    return replace(payment, refunding_minor=payment.refunding_minor + amount_minor), amount_minor


def complete_refund(payment: Payment, amount_minor: int) -> Payment:
    """What was set aside has gone back."""
    refunded_minor = payment.refunded_minor + amount_minor
    whole = refunded_minor == payment.captured_minor
    return replace(
        _told(payment, Status.REFUNDED if whole else Status.PARTIALLY_REFUNDED),
        refunding_minor=payment.refunding_minor - amount_minor,
        refunded_minor=refunded_minor,
    )


def abandon_refund(payment: Payment, amount_minor: int) -> Payment:
    """The provider will not give it back: it may be asked for again."""
    return replace(payment, refunding_minor=payment.refunding_minor - amount_minor, version=payment.version + 1)


def _checked(payment: Payment, amount: Money) -> int:
    if amount.currency != payment.amount.currency:
        detail = f"The payment is in {payment.amount.currency}."
        raise Invalid("invalid", detail, errors=[FieldError("/amount/currency", "currency", detail)])
    if amount.amount_minor <= 0:
        detail = "A refund is more than nothing."
        raise Invalid("invalid", detail, errors=[FieldError("/amount/amount_minor", "range", detail)])
    return amount.amount_minor


def _moved(payment: Payment, to: Status) -> Payment:
    """The payment in `to`. Raises Conflict: `illegal-transition`."""
    if to not in MOVES[payment.status]:
        raise Conflict("illegal-transition", f"A payment that is {payment.status} cannot become {to}.")
    return replace(payment, status=to)


def _told(payment: Payment, to: Status) -> Payment:
    return replace(_moved(payment, to), version=payment.version + 1)
