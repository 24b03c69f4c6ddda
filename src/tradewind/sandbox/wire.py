"""What goes over the wire: bodies of requests and answers, and how charges, refunds and errors look from outside."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tradewind.chassis.errors import Invalid, Problem, Unauthenticated, Unavailable
from tradewind.sandbox.domain import Charge, Refund, Status

T = TypeVar("T")

AmountMinor = Annotated[int, Meta(ge=1, le=999_999_999_999)]
Currency = Annotated[str, Meta(pattern="^[A-Z]{3}$")]
Reference = Annotated[str, Meta(min_length=1, max_length=200)]
Metadata = Annotated[
    dict[Annotated[str, Meta(min_length=1, max_length=40)], Annotated[str, Meta(max_length=500)]], Meta(max_length=20)
]


class CreateCharge(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of POST /v1/charges."""

    amount_minor: AmountMinor
    currency: Currency
    payment_method: Annotated[str, Meta(min_length=1, max_length=100)]
    reference: Reference
    metadata: Metadata = msgspec.field(default_factory=dict)
    capture: bool = True


class CaptureCharge(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of POST /v1/charges/{id}/capture; without an amount: all of it."""

    amount_minor: AmountMinor | None = None


class CreateRefund(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of POST /v1/refunds."""

    charge_id: Annotated[str, Meta(min_length=1, max_length=100)]
    amount_minor: AmountMinor
    reference: Reference


class NextAction(msgspec.Struct, frozen=True):
    """Where the customer has to go."""

    url: str


class ChargeView(msgspec.Struct, frozen=True, kw_only=True):
    """A charge, to the merchant."""

    id: str
    status: str
    amount_minor: int
    amount_captured_minor: int
    amount_refunded_minor: int
    currency: str
    payment_method: str
    reference: str
    metadata: dict[str, str]
    created_at: datetime
    failure_code: str | UnsetType = UNSET
    next_action: NextAction | UnsetType = UNSET


class RefundView(msgspec.Struct, frozen=True, kw_only=True):
    """A refund, to the merchant."""

    id: str
    charge_id: str
    status: Literal["pending", "succeeded", "failed"] = "succeeded"
    amount_minor: int
    currency: str
    reference: str
    created_at: datetime


class Page(msgspec.Struct, frozen=True):
    """Part of a list, oldest first; `next_cursor` goes into `after=`."""

    items: list[ChargeView] | list[RefundView]
    next_cursor: str | None


class CurrencyBalance(msgspec.Struct, frozen=True, kw_only=True):
    """Totals of one currency: how many succeeded, and the money."""

    currency: str
    charges: int
    refunds: int
    captured_minor: int
    refunded_minor: int
    net_minor: int


class Balance(msgspec.Struct, frozen=True):
    """All the money the provider holds for the merchant."""

    items: list[CurrencyBalance]


class EventData(msgspec.Struct, frozen=True):
    """The thing an event is about, as it was then."""

    object: ChargeView | RefundView


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Body of a webhook."""

    id: str
    type: str
    created_at: datetime
    data: EventData


class ErrorDetail(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong; a decline brings the charge along."""

    type: str
    code: str
    message: str
    charge: ChargeView | UnsetType = UNSET


class ErrorBody(msgspec.Struct, frozen=True):
    """Body of every answer that is not a success."""

    error: ErrorDetail


def charge_view(charge: Charge, public_url: str) -> ChargeView:
    """How a charge looks from outside; `public_url` is the base of its challenge page."""
    waiting = charge.status is Status.REQUIRES_ACTION
    return ChargeView(
        id=charge.id,
        status=charge.status.value,
        amount_minor=charge.amount_minor,
        amount_captured_minor=charge.captured_minor,
        amount_refunded_minor=charge.refunded_minor,
        currency=charge.currency,
        payment_method=charge.payment_method,
        reference=charge.reference,
        metadata=charge.metadata,
        created_at=charge.created_at,
        failure_code=charge.failure_code or UNSET,
        next_action=NextAction(challenge_url(charge, public_url)) if waiting else UNSET,
    )


def challenge_url(charge: Charge, public_url: str) -> str:
    """Address of a charge's challenge page; whoever has it may answer in the customer's name."""
    return f"{public_url}/challenge/{charge.id}?token={charge.challenge_token}"


def refund_view(refund: Refund) -> RefundView:
    """How a refund looks from outside."""
    return RefundView(
        id=refund.id,
        charge_id=refund.charge_id,
        amount_minor=refund.amount_minor,
        currency=refund.currency,
        status=refund.status.value,
        reference=refund.reference,
        created_at=refund.created_at,
    )


def error_body(problem: Problem) -> ErrorBody:
    """A problem in the provider's own shape."""
    if problem.code == "idempotency_key_reused":
        kind = "idempotency_error"
    elif isinstance(problem, Unauthenticated):
        kind = "authentication_error"
    elif isinstance(problem, Unavailable):
        kind = "api_error"
    else:
        kind = "invalid_request_error"
    return ErrorBody(ErrorDetail(type=kind, code=problem.code, message=problem.detail or problem.title))


def decline_body(charge: ChargeView) -> ErrorBody:
    """A decline: the charge failed, and is stored as failed.

    Raises:
        ValueError: the charge has no failure code.
    """
    if not charge.failure_code:
        raise ValueError("not declined")
    message = "The payment was declined: " + charge.failure_code.replace("_", " ") + "."
    return ErrorBody(ErrorDetail(type="card_error", code=charge.failure_code, message=message, charge=charge))


def decode_body(raw: bytes, kind: type[T]) -> T:
    """Decode a request body; an empty one counts as `{}`.

    Raises:
        Invalid: 400 `malformed_json` or `parameter_invalid`, with what was wrong and where, never with the value.
    """
    try:
        return msgspec.json.decode(raw or b"{}", type=kind)
    except msgspec.ValidationError as exc:
        raise Invalid("parameter_invalid", str(exc), status=400) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Invalid("malformed_json", "The body is not valid JSON.", status=400) from None
