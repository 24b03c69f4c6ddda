"""What the sandbox provider says on the wire, and what of it is ours."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from tradewind.contracts.money import Money
from tradewind.services.payment.domain.charge import Charge, ChargeStatus, Repayment

_STATUSES = {status.value: status for status in ChargeStatus}
_GRANTED = (ChargeStatus.AUTHORIZED, ChargeStatus.SUCCEEDED)


class NextAction(msgspec.Struct, frozen=True):
    """Where the customer has to go."""

    url: str


class WireCharge(msgspec.Struct, frozen=True, kw_only=True):
    """A charge."""

    id: str
    status: str
    amount_minor: int
    amount_captured_minor: int
    amount_refunded_minor: int
    currency: str
    reference: str
    created_at: Annotated[datetime, msgspec.Meta(tz=True)]
    metadata: dict[str, str] = {}
    failure_code: str | None = None
    next_action: NextAction | None = None

    def charge(self) -> Charge:
        """In our words."""
        status = _STATUSES.get(self.status, ChargeStatus.OTHER)
        return Charge(
            id=self.id,
            status=status,
            amount=Money(self.amount_minor, self.currency),
            reference=self.reference,
            authorized_minor=self.amount_minor if status in _GRANTED else 0,
            captured_minor=self.amount_captured_minor,
            refunded_minor=self.amount_refunded_minor,
            code=self.failure_code,
            action_url=self.next_action.url if self.next_action else None,
        )


class WireRefund(msgspec.Struct, frozen=True, kw_only=True):
    """A refund."""

    id: str
    charge_id: str
    status: str
    amount_minor: int
    currency: str
    reference: str

    def repayment(self) -> Repayment:
        """In our words."""
        return Repayment(
            id=self.id,
            amount=Money(self.amount_minor, self.currency),
            succeeded=self.status == "succeeded",
            failed=self.status in ("failed", "cancelled"),
        )


class Charges(msgspec.Struct, frozen=True):
    """A page of charges. `next_cursor` is null on the last one."""

    items: list[WireCharge]
    next_cursor: str | None = None


class Refunds(msgspec.Struct, frozen=True):
    """A page of refunds. `next_cursor` is null on the last one."""

    items: list[WireRefund]
    next_cursor: str | None = None


class WireHolding(msgspec.Struct, frozen=True):
    """The totals of a currency."""

    currency: str
    captured_minor: int
    refunded_minor: int


class Balance(msgspec.Struct, frozen=True):
    """The totals of all currencies."""

    items: list[WireHolding]


class ErrorDetail(msgspec.Struct, frozen=True):
    """Why not. A decline brings the charge along."""

    type: str
    code: str
    charge: WireCharge | None = None


class ErrorBody(msgspec.Struct, frozen=True):
    """An answer that is not a success."""

    error: ErrorDetail


class NoticeObject(msgspec.Struct, frozen=True):
    """As much of a webhook's object as we look at: the truth is asked for."""

    reference: str = ""
    metadata: dict[str, str] = {}


class NoticeData(msgspec.Struct, frozen=True):
    """The thing a webhook is about."""

    object: NoticeObject


Word = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^[!-~]+(?![\s\S])")]


class WireNotice(msgspec.Struct, frozen=True):
    """A webhook."""

    id: Word
    type: Word
    data: NoticeData
