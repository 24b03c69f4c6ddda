"""What the provider is to be asked, with all that asking takes, and what came of it. `fresh`: nobody has asked yet."""

from __future__ import annotations

import msgspec

from tradewind.contracts.money import Money
from tradewind.services.payment.domain.charge import Aim, Charge, Finding
from tradewind.services.payment.domain.payment import Payment
from tradewind.services.payment.domain.refund import Refund, RefundFinding
from tradewind.services.payment.domain.settlement import Attempt


class ChargeWork(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt to pursue. `age_s` is how long ago it began; `traceparent` is the trace of its order.

    `charge` is the provider's answer of this very moment, where there is one: then it need not be asked for.
    """

    payment: Payment
    attempt: Attempt
    age_s: float = 0.0
    traceparent: str | None = None
    fresh: bool = False
    charge: Charge | None = None

    @property
    def capture(self) -> bool:
        """Whether the charge takes the money at once; if not it is held, and captured when that is written down."""
        return self.attempt.capture

    @property
    def aim(self) -> Aim:
        """What it is after."""
        return Aim(
            amount=self.payment.amount,
            reference=self.payment.order_id,
            step=self.attempt.step,
            status=self.attempt.status,
            order_cancelled=self.payment.order_cancelled,
            age_s=self.age_s,
        )


class RefundWork(msgspec.Struct, frozen=True, kw_only=True):
    """A refund to pursue: so much of that charge at the provider."""

    refund: Refund
    charge_id: str
    amount: Money
    provider: str = ""
    traceparent: str | None = None
    fresh: bool = False


class ChargeOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of pursuing an attempt, and how long it took."""

    work: ChargeWork
    finding: Finding
    elapsed_s: float


class RefundOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of pursuing a refund, and how long it took."""

    work: RefundWork
    finding: RefundFinding
    elapsed_s: float


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider told by itself: something changed about one of our attempts or refunds, if we know which."""

    event_id: str
    type: str
    attempt_id: str | None = None
    refund_id: str | None = None
