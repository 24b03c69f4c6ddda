"""What a finding makes of a payment and its attempt: one table of cases, each answered with one `Change`.

A change is saved whole, in one transaction: the payment, the attempt, the event that tells of it, the booking, and the
refund that follows by itself where the order was cancelled meanwhile.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from tradewind.chassis.events import Event
from tradewind.contracts.payment import (
    PaymentAuthorized,
    PaymentCancelled,
    PaymentCaptured,
    PaymentFailed,
    PaymentRequiresAction,
)
from tradewind.services.payment.domain import payment as moves
from tradewind.services.payment.domain.charge import (
    FIRST_LOOK_S,
    MISMATCH,
    WATCH_S,
    ActionRequired,
    AttemptStatus,
    Authorized,
    Captured,
    Charge,
    ChargeStatus,
    Declined,
    Finding,
    Gone,
    Step,
    Unknown,
    Wrong,
    pause_s,
)
from tradewind.services.payment.domain.ledger import Booking, Cause, book
from tradewind.services.payment.domain.payment import Payment, Status

OPEN = (Status.PROCESSING, Status.REQUIRES_ACTION, Status.AUTHORIZED)
NOW_S = 0.0


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try to get the money; its id is the provider's idempotency key.

    `capture`: the money is taken at once, not held first. `code`: why it failed. `due_in_s` is when it is to be taken up
    (again), None: never. `looks` counts how often reconciliation took it up.
    """

    id: str
    payment_id: str
    provider: str = ""
    capture: bool = True
    status: AttemptStatus = AttemptStatus.PROCESSING
    step: Step = Step.CHARGE
    charge_id: str | None = None
    code: str | None = None
    looks: int = 0
    settled_age_s: float = 0.0
    due_in_s: float | None = None


class Discrepancy(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider says is not what we asked for."""

    subject_id: str
    payment_id: str
    ours: str
    theirs: str


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """All that one decision changes. `refund_minor`: give that much back; `resolves`: the discrepancy about that is settled."""

    payment: Payment
    attempt: Attempt | None = None
    event: Event | None = None
    booking: Booking | None = None
    refund_minor: int = 0
    discrepancy: Discrepancy | None = None
    resolves: str | None = None


def settle(
    payment: Payment, attempt: Attempt, finding: Finding, *, elapsed_s: float = 0.0, lease_s: float = NOW_S
) -> Change | None:
    """What `finding` changes; None when it tells nothing new (it came twice, or late).

    `elapsed_s`: how long the asking took. `lease_s`: what follows at once is ours for so long.
    """
    if attempt.status in (AttemptStatus.SUCCEEDED, AttemptStatus.FAILED):
        return None
    match finding:
        case Authorized():
            return _authorized(payment, attempt, finding.charge, lease_s)
        case Captured():
            return _captured(payment, attempt, finding.charge)
        case Declined(charge=Charge(status=ChargeStatus.CANCELLED)) if payment.order_cancelled:
            # Asked for somebody who still wanted it; nobody does any more, so it is what was to come of it.
            return _gone(payment, attempt, finding.charge)
        case Declined():
            return _declined(payment, attempt, finding)
        case ActionRequired():
            return _action_required(payment, attempt, finding)
        case Gone():
            return _gone(payment, attempt, finding.charge)
        case Wrong():
            return (
                _undone(payment, attempt, finding.charge)
                if finding.undone
                else _wrong(payment, attempt, finding.charge)
            )
        case Unknown():
            return _unknown(payment, attempt, elapsed_s)


def confirm(payment: Payment, attempt: Attempt, *, due_in_s: float) -> tuple[Payment, Attempt]:
    """The customer says they have been at the provider's page: the provider is to be asked to go on."""
    asked = replace(attempt, status=AttemptStatus.PROCESSING, step=Step.CONFIRM, due_in_s=due_in_s)
    return moves.resume(payment), asked


def abandon_order(payment: Payment, attempt: Attempt, *, due_in_s: float) -> Change:
    """The order is cancelled: let go of what waits for the customer, give back what was taken. What is under way
    ends first, and is judged then.
    """
    payment = moves.cancel_order(payment)
    if payment.status is Status.REQUIRES_ACTION:
        let_go = replace(attempt, status=AttemptStatus.PROCESSING, step=Step.VOID, due_in_s=due_in_s)
        return Change(payment=moves.resume(payment), attempt=let_go)
    if attempt.status is AttemptStatus.AUTHORIZED and attempt.step is Step.CAPTURE:
        # The capture may be under way. The provider lets one of the two through, and both times we hear which.
        return Change(payment=payment, attempt=replace(attempt, step=Step.VOID, due_in_s=due_in_s))
    payment, refund_minor = give_back(payment)
    return Change(payment=payment, refund_minor=refund_minor)


def give_back(payment: Payment) -> tuple[Payment, int]:
    """Set aside all that is left of a cancelled order's money, in minor units; 0: there is none."""
    if not payment.order_cancelled or payment.refundable_minor == 0:
        return payment, 0
    return moves.reserve_refund(payment, None)


def _authorized(payment: Payment, attempt: Attempt, charge: Charge, lease_s: float) -> Change | None:
    if attempt.status is AttemptStatus.AUTHORIZED:
        return None
    held = replace(attempt, charge_id=charge.id)
    if payment.order_cancelled:
        return _let_go(payment, held)
    if payment.status not in OPEN:
        return None
    event = PaymentAuthorized(
        payment_id=payment.id, order_id=payment.order_id, customer_id=payment.customer_id, amount=payment.amount
    )
    held = replace(held, status=AttemptStatus.AUTHORIZED, step=Step.CAPTURE, due_in_s=lease_s)
    return Change(payment=moves.authorize(payment), attempt=held, event=event)


def _let_go(payment: Payment, attempt: Attempt) -> Change:
    """The order is cancelled, and the provider still holds, or waits for, something of it."""
    resumed = moves.resume(payment) if payment.status is Status.REQUIRES_ACTION else payment
    let_go = replace(attempt, step=Step.VOID, due_in_s=NOW_S)
    if payment.status in OPEN:
        let_go = replace(let_go, status=AttemptStatus.PROCESSING)
    return Change(payment=resumed, attempt=let_go)


def _captured(payment: Payment, attempt: Attempt, charge: Charge) -> Change:
    captured = moves.capture(payment)
    event = PaymentCaptured(
        payment_id=payment.id, order_id=payment.order_id, customer_id=payment.customer_id, amount=payment.amount
    )
    left, refund_minor = give_back(captured)
    return Change(
        payment=left,
        attempt=replace(attempt, status=AttemptStatus.SUCCEEDED, charge_id=charge.id, due_in_s=None),
        event=event,
        booking=book(Cause.CAPTURE, attempt.id, payment.id, payment.amount),
        refund_minor=refund_minor,
    )


def _declined(payment: Payment, attempt: Attempt, finding: Declined) -> Change:
    charge_id = finding.charge.id if finding.charge else attempt.charge_id
    if payment.status not in OPEN:
        return Change(payment=payment, attempt=replace(attempt, charge_id=charge_id, due_in_s=None))
    return Change(
        payment=moves.fail(payment, finding.code),
        attempt=replace(attempt, status=AttemptStatus.FAILED, charge_id=charge_id, code=finding.code, due_in_s=None),
        event=_failed(payment, finding.code),
    )


def _action_required(payment: Payment, attempt: Attempt, finding: ActionRequired) -> Change | None:
    if attempt.status is AttemptStatus.AUTHORIZED:
        return None
    attempt = replace(attempt, charge_id=finding.charge.id)
    if payment.order_cancelled:
        return _let_go(payment, attempt)
    # We asked because the customer said so. They may have been there only just after we asked, and whatever they or the
    # provider said meanwhile was said to somebody who was busy asking: their word counts for one more look.
    too_early = attempt.step is Step.CONFIRM and payment.status is Status.PROCESSING
    step, due_in_s = (Step.CONFIRM, FIRST_LOOK_S) if too_early else (Step.CHARGE, None)
    attempt = replace(attempt, status=AttemptStatus.REQUIRES_ACTION, step=step, due_in_s=due_in_s)
    if payment.status is Status.REQUIRES_ACTION:
        return Change(payment=payment, attempt=attempt)
    if payment.action_url is not None or finding.url is None:
        return Change(payment=moves.wait_again(payment), attempt=attempt)
    event = PaymentRequiresAction(
        payment_id=payment.id,
        order_id=payment.order_id,
        customer_id=payment.customer_id,
        amount=payment.amount,
        action_url=finding.url,
    )
    return Change(payment=moves.require_action(payment, finding.url), attempt=attempt, event=event)


def _gone(payment: Payment, attempt: Attempt, charge: Charge | None) -> Change:
    # Without the provider's word that it was cancelled it may still land: keep looking.
    due_in_s = None if charge else pause_s(attempt.looks, elapsed_s=0.0, watching=True)
    gone = replace(attempt, status=AttemptStatus.CANCELLED, due_in_s=due_in_s)
    if payment.status not in OPEN:
        return Change(payment=payment, attempt=gone)
    event = PaymentCancelled(
        payment_id=payment.id, order_id=payment.order_id, customer_id=payment.customer_id, amount=payment.amount
    )
    return Change(payment=moves.cancel(payment), attempt=gone, event=event)


def _wrong(payment: Payment, attempt: Attempt, charge: Charge) -> Change | None:
    if attempt.step is Step.UNDO:
        return None
    resumed = moves.resume(payment) if payment.status is Status.REQUIRES_ACTION else payment
    status = attempt.status
    if payment.status in OPEN and status is not AttemptStatus.AUTHORIZED:
        status = AttemptStatus.PROCESSING
    taken = replace(charge.amount, amount_minor=charge.captured_minor)
    return Change(
        payment=resumed,
        attempt=replace(attempt, status=status, step=Step.UNDO, charge_id=charge.id, due_in_s=NOW_S),
        booking=book(Cause.MISMATCH, attempt.id, payment.id, taken),
        discrepancy=Discrepancy(
            subject_id=attempt.id,
            payment_id=payment.id,
            ours=f"{payment.amount.amount_minor} {payment.amount.currency} for {payment.order_id}",
            theirs=f"{charge.captured_minor or charge.amount.amount_minor} {charge.amount.currency} for {charge.reference}",
        ),
    )


def _undone(payment: Payment, attempt: Attempt, charge: Charge) -> Change:
    booking = None
    if attempt.step is Step.UNDO:
        taken = replace(charge.amount, amount_minor=charge.captured_minor)
        booking = book(Cause.MISMATCH_UNDONE, attempt.id, payment.id, taken)
    if payment.status not in OPEN:
        return Change(payment=payment, attempt=replace(attempt, due_in_s=None), booking=booking, resolves=attempt.id)
    return Change(
        payment=moves.fail(payment, MISMATCH),
        attempt=replace(attempt, status=AttemptStatus.FAILED, charge_id=charge.id, code=MISMATCH, due_in_s=None),
        event=_failed(payment, MISMATCH),
        booking=booking,
        resolves=attempt.id,
    )


def _unknown(payment: Payment, attempt: Attempt, elapsed_s: float) -> Change:
    watching = attempt.status is AttemptStatus.CANCELLED
    if watching and attempt.settled_age_s > WATCH_S:
        return Change(payment=payment, attempt=replace(attempt, due_in_s=None))
    due_in_s = pause_s(attempt.looks, elapsed_s=elapsed_s, watching=watching)
    return Change(payment=payment, attempt=replace(attempt, due_in_s=due_in_s))


def _failed(payment: Payment, code: str) -> PaymentFailed:
    return PaymentFailed(
        payment_id=payment.id,
        order_id=payment.order_id,
        customer_id=payment.customer_id,
        amount=payment.amount,
        code=code,
    )
