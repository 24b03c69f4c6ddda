"""What is true of a refund: asked for, given back or refused for good, and what that makes of its payment."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

import msgspec
from msgspec.structs import replace

from tradewind.contracts.money import Money
from tradewind.contracts.payment import PaymentRefunded, PaymentRefundFailed
from tradewind.services.payment.domain import payment as moves
from tradewind.services.payment.domain.charge import Repayment, Unknown, pause_s
from tradewind.services.payment.domain.ledger import Cause, book
from tradewind.services.payment.domain.payment import Payment
from tradewind.services.payment.domain.settlement import Change, Discrepancy, give_back

MAX_REFUSED_PAUSE_S = 60.0
ORDER_CANCELLED = "order cancelled"
BY_ITSELF = "payment-service"


class RefundStatus(StrEnum):
    """Where a refund stands."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Refund(msgspec.Struct, frozen=True, kw_only=True):
    """Money on its way back. `requested_by` is a user's id. `by_itself`: nobody asked, the order was cancelled, so it is not given up.

    `round` counts the provider's refusals of such a one: each round has an idempotency key of its own, because a provider
    repeats a refusal to whoever repeats the key. After an unknown outcome the key stays.
    """

    id: str
    payment_id: str
    amount_minor: int
    reason: str
    requested_by: str = BY_ITSELF
    by_itself: bool = False
    status: RefundStatus = RefundStatus.PENDING
    code: str | None = None
    provider_id: str | None = None
    round: int = 0
    looks: int = 0
    due_in_s: float | None = None

    @property
    def asked_by(self) -> str | None:
        """The id of who asked for it; None: nobody did."""
        return None if self.by_itself else self.requested_by

    @property
    def key(self) -> str:
        """The idempotency key at the provider."""
        return f"{self.id}:{self.round}" if self.round else self.id


def refund_of(key: str) -> str:
    """The id of the refund that `key` belongs to, whichever round."""
    return key.partition(":")[0]


class Repaid(msgspec.Struct, frozen=True, tag=True):
    """The provider gave it back."""

    repayment: Repayment


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The provider will not."""

    code: str


RefundFinding: TypeAlias = Repaid | Refused | Unknown


class RefundChange(Change, frozen=True, kw_only=True):
    """A change that is about a refund."""

    refund: Refund


def judge_repayment(repayment: Repayment) -> RefundFinding:
    """What the provider's word about a refund says."""
    if repayment.succeeded:
        return Repaid(repayment)
    if repayment.failed:
        return Refused(repayment.code or "refund_failed")
    return Unknown("the refund is under way at the provider")


def settle_refund(
    payment: Payment, refund: Refund, finding: RefundFinding, *, elapsed_s: float = 0.0
) -> RefundChange | None:
    """What `finding` changes; None when it tells nothing new."""
    if refund.status is not RefundStatus.PENDING:
        return None
    match finding:
        case Repaid():
            return _repaid(payment, refund, finding.repayment)
        case Refused():
            return _refused(payment, refund, finding.code)
        case Unknown():
            due_in_s = pause_s(refund.looks, elapsed_s=elapsed_s)
            return RefundChange(payment=payment, refund=replace(refund, due_in_s=due_in_s))


def _repaid(payment: Payment, refund: Refund, repayment: Repayment) -> RefundChange:
    asked = payment.money(refund.amount_minor)
    if repayment.amount != asked:
        return _wrong(payment, refund, repayment, asked)
    repaid = moves.complete_refund(payment, refund.amount_minor)
    event = PaymentRefunded(
        payment_id=payment.id,
        order_id=payment.order_id,
        customer_id=payment.customer_id,
        refund_id=refund.id,
        amount=asked,
        refunded=payment.money(repaid.refunded_minor),
        captured=payment.money(repaid.captured_minor),
        reason=refund.reason,
        requested_by=refund.asked_by,
    )
    return RefundChange(
        payment=repaid,
        refund=replace(refund, status=RefundStatus.SUCCEEDED, provider_id=repayment.id, due_in_s=None),
        event=event,
        booking=book(Cause.REFUND, refund.id, payment.id, asked),
    )


def _refused(payment: Payment, refund: Refund, code: str) -> RefundChange:
    if refund.by_itself:
        pause = min(2.0 ** min(refund.round, 10), MAX_REFUSED_PAUSE_S)
        return RefundChange(payment=payment, refund=replace(refund, code=code, round=refund.round + 1, due_in_s=pause))
    left, refund_minor = give_back(moves.abandon_refund(payment, refund.amount_minor))
    event = PaymentRefundFailed(
        payment_id=payment.id,
        order_id=payment.order_id,
        customer_id=payment.customer_id,
        refund_id=refund.id,
        amount=payment.money(refund.amount_minor),
        code=code,
        requested_by=refund.asked_by,
    )
    failed = replace(refund, status=RefundStatus.FAILED, code=code, due_in_s=None)
    return RefundChange(payment=left, refund=failed, event=event, refund_minor=refund_minor)


def _wrong(payment: Payment, refund: Refund, repayment: Repayment, asked: Money) -> RefundChange:
    """Another sum went back than was asked for: money is gone that nobody can fetch, so a person has to look at it."""
    discrepancy = Discrepancy(
        subject_id=refund.id,
        payment_id=payment.id,
        ours=f"{asked.amount_minor} {asked.currency}",
        theirs=f"{repayment.amount.amount_minor} {repayment.amount.currency}",
    )
    return RefundChange(payment=payment, refund=replace(refund, due_in_s=MAX_REFUSED_PAUSE_S), discrepancy=discrepancy)
