"""What is true of a charge and a refund: states, moves, and what a move may never do. Pure.

A move that changes nothing returns the very charge it was given, so that repeating a request is harmless.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from tradewind.chassis.errors import Conflict

AUTHENTICATION_FAILED = "authentication_failed"


class Status(StrEnum):
    """Where a charge stands. `failed`, `cancelled` and `succeeded` are final."""

    REQUIRES_ACTION = "requires_action"
    REQUIRES_CONFIRMATION = "requires_confirmation"
    AUTHORIZED = "authorized"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """A payment as the provider sees it: refunded <= captured <= amount, and captured > 0 only when succeeded."""

    id: str
    idempotency_key: str
    reference: str
    payment_method: str
    amount_minor: int
    currency: str
    capture: bool
    metadata: dict[str, str]
    created_at: datetime
    status: Status = Status.REQUIRES_CONFIRMATION
    captured_minor: int = 0
    refunded_minor: int = 0
    failure_code: str | None = None
    challenge_token: str | None = None


class RefundStatus(StrEnum):
    """Where a refund stands. Only one that succeeded is in its charge's `refunded_minor`; a pending one sets aside."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Refund(msgspec.Struct, frozen=True, kw_only=True):
    """Money given back of one charge. A pending one becomes `ends_as` at `ends_at`."""

    id: str
    charge_id: str
    reference: str
    amount_minor: int
    currency: str
    created_at: datetime
    status: RefundStatus = RefundStatus.SUCCEEDED
    ends_as: RefundStatus | None = None
    ends_at: datetime | None = None


def decline(charge: Charge, failure_code: str) -> Charge:
    """The issuer said no."""
    return replace(charge, status=Status.FAILED, failure_code=failure_code)


def challenge(charge: Charge, token: str) -> Charge:
    """The issuer wants to ask its customer first; `token` is what the page's address carries."""
    return replace(charge, status=Status.REQUIRES_ACTION, challenge_token=token)


def answer_challenge(charge: Charge, *, approved: bool) -> Charge:
    """The customer answered the issuer. Approved: the merchant may confirm. A charge past that point stays as it is."""
    if charge.status is not Status.REQUIRES_ACTION:
        return charge
    return replace(charge, status=Status.REQUIRES_CONFIRMATION) if approved else decline(charge, AUTHENTICATION_FAILED)


def confirm(charge: Charge) -> Charge:
    """Take the money, or hold it where the merchant captures later; no change while the customer's answer is due.

    Raises:
        Conflict: `charge_not_confirmable`, the charge was cancelled.
    """
    if charge.status is Status.CANCELLED:
        raise Conflict("charge_not_confirmable", "The charge was cancelled.")
    if charge.status is not Status.REQUIRES_CONFIRMATION:
        return charge
    if not charge.capture:
        return replace(charge, status=Status.AUTHORIZED)
    return replace(charge, status=Status.SUCCEEDED, captured_minor=charge.amount_minor)


def capture(charge: Charge, amount_minor: int | None = None) -> Charge:
    """Take what was held, all of it or `amount_minor`; the rest is released.

    Raises:
        Conflict: `capture_exceeds_authorized`, or `charge_not_capturable` (nothing is held, or another amount was
        taken).
    """
    amount_minor = charge.amount_minor if amount_minor is None else amount_minor
    if charge.status is Status.SUCCEEDED and charge.captured_minor == amount_minor:
        return charge
    if charge.status is not Status.AUTHORIZED:
        raise Conflict("charge_not_capturable", f"A charge that is {charge.status} cannot be captured.")
    if amount_minor > charge.amount_minor:
        raise Conflict("capture_exceeds_authorized", f"Only {charge.amount_minor} is authorized.")
    return replace(charge, status=Status.SUCCEEDED, captured_minor=amount_minor)


def cancel(charge: Charge) -> Charge:
    """Let go of a charge that took no money.

    Raises:
        Conflict: `charge_not_cancellable`, it succeeded (refund it) or failed.
    """
    if charge.status is Status.CANCELLED:
        return charge
    if charge.status in (Status.SUCCEEDED, Status.FAILED):
        raise Conflict("charge_not_cancellable", f"A charge that is {charge.status} cannot be cancelled.")
    return replace(charge, status=Status.CANCELLED)


def check_refund(charge: Charge, amount_minor: int, pending_minor: int) -> None:
    """Refuse to give back more than is left beside what other refunds, `pending_minor`, have set aside.

    Raises:
        Conflict: `refund_exceeds_captured`.
    """
    left_minor = charge.captured_minor - charge.refunded_minor - pending_minor
    if amount_minor > left_minor:
        raise Conflict("refund_exceeds_captured", f"Only {left_minor} of the charge is left to refund.")


def give_back(charge: Charge, amount_minor: int) -> Charge:
    """The charge after a refund of `amount_minor` succeeded. Raises as `check_refund`."""
    check_refund(charge, amount_minor, 0)
    return replace(charge, refunded_minor=charge.refunded_minor + amount_minor)
