"""What Stripe says on the wire, as much of it as we look at, and what of it is ours.

The types are those of Stripe's published description of the API version that the SDK speaks; tests hold them to it.
"""

from __future__ import annotations

import msgspec

from tradewind.contracts.money import Money
from tradewind.services.payment.domain.charge import Charge, ChargeStatus, Repayment
from tradewind.services.payment.providers.sandbox_wire import Word
from tradewind.services.payment.providers.stripe_amounts import from_stripe

ATTEMPT = "attempt_id"
PAYMENT = "payment_id"
ORDER = "order_id"
REFUND = "refund_id"
REFUND_KEY = "refund_key"
"""Names of the metadata that tells our own objects in Stripe's."""

_STATUSES = {
    "requires_confirmation": ChargeStatus.REQUIRES_CONFIRMATION,
    "requires_action": ChargeStatus.REQUIRES_ACTION,
    "requires_capture": ChargeStatus.AUTHORIZED,
    "succeeded": ChargeStatus.SUCCEEDED,
    "canceled": ChargeStatus.CANCELLED,
}

_NOT_FOR_THE_CUSTOMER = frozenset({"fraudulent", "generic_decline", "lost_card", "merchant_blacklist", "stolen_card"})
"""Reasons that Stripe asks to show as a plain decline. Source: https://docs.stripe.com/declines/codes"""

_AUTHENTICATION_FAILURE = "payment_intent_authentication_failure"


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a payment method was refused."""

    type: str = ""
    code: str | None = None
    decline_code: str | None = None

    @property
    def reason(self) -> str:
        """One word for it, fit for the customer."""
        if self.code == _AUTHENTICATION_FAILURE:
            return "authentication_failed"
        if self.decline_code and self.decline_code not in _NOT_FOR_THE_CUSTOMER:
            return self.decline_code
        return self.code or "card_declined"


class Redirect(msgspec.Struct, frozen=True):
    """The page of the customer's bank."""

    url: str | None = None


class NextAction(msgspec.Struct, frozen=True):
    """What the customer has to do."""

    redirect_to_url: Redirect | None = None


class WireCharge(msgspec.Struct, frozen=True, kw_only=True):
    """The charge inside a PaymentIntent."""

    amount_refunded: int


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """A PaymentIntent, with its `latest_charge` expanded."""

    id: str
    status: str
    created: int
    amount: int
    currency: str
    amount_capturable: int = 0
    amount_received: int = 0
    metadata: dict[str, str] = {}
    last_payment_error: Failure | None = None
    next_action: NextAction | None = None
    latest_charge: WireCharge | str | None = None

    @property
    def declined(self) -> bool:
        """The payment method was refused. It waits for another, or we have cancelled it since."""
        return self.last_payment_error is not None and self.status in ("requires_payment_method", "canceled")

    @property
    def unconfirmed(self) -> bool:
        """It was made, and nobody has asked for the money yet."""
        unpaid = self.status == "requires_payment_method" and self.last_payment_error is None
        return unpaid or self.status == "requires_confirmation"

    def charge(self) -> Charge:
        """In our words. Raises NotExpressible."""
        currency = self.currency.upper()
        status = _STATUSES.get(self.status, ChargeStatus.OTHER)
        if self.declined:
            status = ChargeStatus.FAILED
        elif self.unconfirmed:
            status = ChargeStatus.REQUIRES_CONFIRMATION
        captured = from_stripe(self.amount_received, currency)
        held = self.amount if self.status == "succeeded" else self.amount_capturable
        action = self.next_action.redirect_to_url if self.next_action else None
        return Charge(
            id=self.id,
            status=status,
            amount=Money(from_stripe(self.amount, currency), currency),
            reference=self.metadata.get(ORDER, ""),
            authorized_minor=from_stripe(held, currency),
            captured_minor=captured,
            refunded_minor=from_stripe(self._refunded, currency),
            code=self.last_payment_error.reason if self.last_payment_error else None,
            action_url=action.url if action else None,
        )

    @property
    def _refunded(self) -> int:
        return self.latest_charge.amount_refunded if isinstance(self.latest_charge, WireCharge) else 0


class WireRefund(msgspec.Struct, frozen=True, kw_only=True):
    """A refund."""

    id: str
    amount: int
    currency: str
    status: str | None = None
    failure_reason: str | None = None
    metadata: dict[str, str] | None = None

    def repayment(self) -> Repayment:
        """In our words. Raises NotExpressible."""
        currency = self.currency.upper()
        return Repayment(
            id=self.id,
            amount=Money(from_stripe(self.amount, currency), currency),
            succeeded=self.status == "succeeded",
            failed=self.status in ("failed", "canceled"),
            code=self.failure_reason or ("refund_canceled" if self.status == "canceled" else None),
        )


class Intents(msgspec.Struct, frozen=True):
    """A page of PaymentIntents."""

    data: list[Intent]
    has_more: bool


class WireRefunds(msgspec.Struct, frozen=True):
    """A page of refunds."""

    data: list[WireRefund]
    has_more: bool


class ErrorDetail(msgspec.Struct, frozen=True, kw_only=True):
    """Why not. A decline brings its PaymentIntent along."""

    type: str = ""
    code: str | None = None
    decline_code: str | None = None
    payment_intent: Intent | None = None


class ErrorBody(msgspec.Struct, frozen=True):
    """An answer that is not a success."""

    error: ErrorDetail


class EventObject(msgspec.Struct, frozen=True, kw_only=True):
    """As much of a webhook's object as we look at: the truth is asked for."""

    object: str = ""
    metadata: dict[str, str] | None = None


class EventData(msgspec.Struct, frozen=True):
    """What a webhook is about."""

    object: EventObject


class Event(msgspec.Struct, frozen=True):
    """A webhook."""

    id: Word
    type: Word
    data: EventData
