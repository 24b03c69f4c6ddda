"""What the provider says about a charge or a refund, and what follows from it.

`judge` is the one place that decides: it is asked after every answer, whether that came at once, from reconciliation or
after a restart, so it does not matter how we learned something, nor in which order.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

import msgspec

from tradewind.contracts.money import Money

GIVE_UP_AFTER_S = 3.5
"""A charge the provider does not know may still be under way: that long after we first asked. The client's 2.5 s and a margin."""

WATCH_S = 600.0
"""How long a charge is looked for that was given up without the provider's word that there is none."""

FIRST_LOOK_S = 2.0
MAX_PAUSE_S = 10.0
MAX_WATCH_PAUSE_S = 60.0

MISMATCH = "provider_mismatch"
WITHDRAWN = "cancelled_by_provider"
HOLD_EXPIRED = "authorization_expired"
HOLD_LOST = "authorization_lost"


class ChargeStatus(StrEnum):
    """Where a charge stands at the provider, in words that fit every provider. OTHER: a word we do not know.

    AUTHORIZED: the money is held for us and not yet taken. CANCELLED: nothing is held any more, whoever let go of it.
    """

    AUTHORIZED = "authorized"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REQUIRES_ACTION = "requires_action"
    REQUIRES_CONFIRMATION = "requires_confirmation"
    CANCELLED = "cancelled"
    OTHER = "other"


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """A charge as the provider has it. `reference` is what we gave: the order's id.

    `authorized_minor` is what the issuer granted, taken or not; 0 while it has not. captured_minor <= authorized_minor.
    """

    id: str
    status: ChargeStatus
    amount: Money
    reference: str
    authorized_minor: int = 0
    captured_minor: int = 0
    refunded_minor: int = 0
    code: str | None = None
    action_url: str | None = None


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A charge in the provider's list. `attempt_id` is what we gave along; empty where it was none of ours."""

    charge: Charge
    attempt_id: str


class Repayment(msgspec.Struct, frozen=True, kw_only=True):
    """A refund as the provider has it. `succeeded` and `failed` both false: it is still under way there."""

    id: str
    amount: Money
    succeeded: bool
    failed: bool = False
    code: str | None = None


class AttemptStatus(StrEnum):
    """Where an attempt to get the money stands, as far as we know."""

    PROCESSING = "processing"
    REQUIRES_ACTION = "requires_action"
    AUTHORIZED = "authorized"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Step(StrEnum):
    """What we want of the provider. Each may be repeated without harm."""

    CHARGE = "charge"
    CONFIRM = "confirm"
    CAPTURE = "capture"
    VOID = "void"
    UNDO = "undo"


class Aim(msgspec.Struct, frozen=True, kw_only=True):
    """What an attempt is after: so much for that order. `age_s` is how long ago it was first sent."""

    amount: Money
    reference: str
    step: Step
    status: AttemptStatus
    order_cancelled: bool
    age_s: float


class Authorized(msgspec.Struct, frozen=True, tag=True):
    """The money is held for us. Nothing has moved, and it is ours to take or to let go of."""

    charge: Charge


class Captured(msgspec.Struct, frozen=True, tag=True):
    """The money moved."""

    charge: Charge


class Declined(msgspec.Struct, frozen=True, tag=True):
    """It did not, and will not. `charge` is None where the provider refused the very request."""

    code: str
    charge: Charge | None = None


class ActionRequired(msgspec.Struct, frozen=True, tag=True):
    """The customer is asked first. No `url`: they have been there, and we are to confirm."""

    charge: Charge
    url: str | None


class Gone(msgspec.Struct, frozen=True, tag=True):
    """Nothing moved, and the order is cancelled. Without `charge` the provider only has not heard of it yet."""

    charge: Charge | None


class Wrong(msgspec.Struct, frozen=True, tag=True):
    """The charge is not the one we asked for; `undone`: and nothing is left of it."""

    charge: Charge
    undone: bool


class Unknown(msgspec.Struct, frozen=True, tag=True):
    """Ask again later. `reason` is for people."""

    reason: str


Finding: TypeAlias = Authorized | Captured | Declined | ActionRequired | Gone | Wrong | Unknown


def judge(aim: Aim, charge: Charge | None) -> Finding | Step:
    """What is known now, or what to ask of the provider next."""
    if charge is None:
        return _judge_nothing(aim)
    if aim.step is Step.UNDO or _is_wrong(aim, charge):
        return _judge_wrong(aim, charge)
    unwanted = aim.order_cancelled or aim.step is Step.VOID
    match charge.status:
        case ChargeStatus.AUTHORIZED:
            return Step.VOID if unwanted else _judge_hold(aim, charge)
        case ChargeStatus.SUCCEEDED:
            return Captured(charge)
        case ChargeStatus.FAILED:
            return Declined(charge.code or "declined", charge)
        case ChargeStatus.CANCELLED:
            if unwanted:
                return Gone(charge)
            return Declined(HOLD_EXPIRED if aim.status is AttemptStatus.AUTHORIZED else WITHDRAWN, charge)
        case ChargeStatus.REQUIRES_ACTION:
            return Step.VOID if unwanted else ActionRequired(charge, charge.action_url)
        case ChargeStatus.REQUIRES_CONFIRMATION:
            if unwanted:
                return Step.VOID
            return Step.CONFIRM if aim.step is Step.CONFIRM else ActionRequired(charge, None)
        case ChargeStatus.OTHER:
            return Unknown("the provider has a word for it that we do not know")


def _judge_hold(aim: Aim, charge: Charge) -> Finding | Step:
    # First it is written down that the money is held, and then taken: so a cancellation can come between the two.
    return Step.CAPTURE if aim.step is Step.CAPTURE else Authorized(charge)


def _judge_nothing(aim: Aim) -> Finding | Step:
    if aim.status is AttemptStatus.CANCELLED:
        return Unknown("given up, and not seen at the provider")
    if aim.age_s < GIVE_UP_AFTER_S:
        return Unknown("the provider has not heard of it yet")
    if aim.status is AttemptStatus.AUTHORIZED and not aim.order_cancelled:
        # It had told us of it. Asking for the money a second time could be a second charge where keys have run out.
        return Declined(HOLD_LOST)
    # The key makes sure that asking again cannot charge twice.
    return Gone(None) if aim.order_cancelled else Step.CHARGE


def _is_wrong(aim: Aim, charge: Charge) -> bool:
    if charge.amount != aim.amount or charge.reference != aim.reference:
        return True
    if charge.status is ChargeStatus.AUTHORIZED:
        return charge.authorized_minor != aim.amount.amount_minor or charge.captured_minor != 0
    return charge.status is ChargeStatus.SUCCEEDED and charge.captured_minor != aim.amount.amount_minor


def is_undone(charge: Charge) -> bool:
    """Whether nothing is left of a charge: nothing was taken, or all of it went back."""
    if charge.status in (ChargeStatus.FAILED, ChargeStatus.CANCELLED):
        return True
    return charge.status is ChargeStatus.SUCCEEDED and charge.captured_minor == charge.refunded_minor


def _judge_wrong(aim: Aim, charge: Charge) -> Finding | Step:
    if charge.status is ChargeStatus.OTHER:
        return Unknown("the provider has a word for it that we do not know")
    if is_undone(charge):
        return Wrong(charge, undone=True)
    # First it is written down that it is wrong, then it is undone.
    return Step.UNDO if aim.step is Step.UNDO else Wrong(charge, undone=False)


def pause_s(tries: int, *, elapsed_s: float, watching: bool = False) -> float:
    """How long to wait before asking again: 2 s after the first call began, then doubling to 10 s (60 s while watching)."""
    if tries == 0:
        return max(0.25, FIRST_LOOK_S - elapsed_s)
    return min(float(2 ** min(tries - 1, 10)), MAX_WATCH_PAUSE_S if watching else MAX_PAUSE_S)
