"""Stripe, through its official SDK: one PaymentIntent an attempt, made and confirmed in one request.

Imported only where PAYMENT_PROVIDER=stripe: the SDK takes 7 MB and a tenth of a second. `docs/adr/0013-stripe.md` tells why nothing is charged twice.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import stripe

from tradewind.chassis.breaker import State
from tradewind.chassis.errors import Invalid
from tradewind.chassis.ids import is_id
from tradewind.chassis.third_party import OutcomeUnknown, ThirdPartyClient
from tradewind.contracts.money import Money
from tradewind.services.payment.domain.charge import (
    GIVE_UP_AFTER_S,
    AttemptStatus,
    Charge,
    ChargeStatus,
    Listed,
    Repayment,
    Step,
)
from tradewind.services.payment.domain.work import ChargeWork, Notice, RefundWork
from tradewind.services.payment.providers import Holding, RequestRefused, key_of_undo
from tradewind.services.payment.providers.signature import check_age, invalid_signature
from tradewind.services.payment.providers.stripe_amounts import NotExpressible, to_stripe
from tradewind.services.payment.providers.stripe_calls import StripeCalls
from tradewind.services.payment.providers.stripe_errors import KeyUsed, ServerFailed
from tradewind.services.payment.providers.stripe_wire import (
    ATTEMPT,
    ORDER,
    PAYMENT,
    REFUND,
    REFUND_KEY,
    Event,
    Intent,
    WireRefund,
)

SIGNATURE_HEADER = "stripe-signature"
KEY_LIFE_S = 23 * 3600.0
"""How long a key surely names one request: Stripe forgets it after 24 hours at the earliest."""

MAX_HOLDING_PAGES = 20
MAX_LISTING_PAGES = 10_000


class StripeProvider:
    """A `Provider`. A charge's id is that of its PaymentIntent, its reference the order's; the key is the attempt's id."""

    name = "stripe"

    def __init__(
        self,
        client: ThirdPartyClient,
        base_url: str,
        *,
        api_key: str,
        webhook_secrets: Sequence[str],
        return_url: str,
        timeout_s: float,
    ) -> None:
        """`client` calls `base_url`. `return_url` is where a customer's bank sends them back to."""
        self._client = client
        self._calls = StripeCalls(client, base_url, api_key=api_key, timeout_s=timeout_s)
        self._webhook_secrets = webhook_secrets
        self._return_url = return_url

    @property
    def answers(self) -> bool:
        return self._client.state is State.CLOSED

    @property
    def key_refused(self) -> bool:
        """Whether Stripe did not accept the API key when it was last asked."""
        return self._calls.key_refused

    async def charge(self, work: ChargeWork) -> Charge:
        if work.age_s > KEY_LIFE_S:
            # Stripe may have forgotten the key, and whoever asks here has looked for the charge and found none.
            raise RequestRefused("attempt_expired")
        try:
            return await self._create(work)
        except (ServerFailed, KeyUsed):
            # The key will say nothing else for a day. What came of it is found by its metadata, or not yet.
            if work.fresh or (found := await self._calls.search(work.attempt.id)) is None:
                raise
            return await self._finished(found, work)

    async def find_charge(self, work: ChargeWork) -> Charge | None:
        if work.attempt.charge_id is not None:
            known = await self._calls.find(work.attempt.charge_id)
            return None if known is None else await self._finished(known, work)
        if work.age_s > KEY_LIFE_S:
            found = await self._calls.search(work.attempt.id)
            return None if found is None else await self._finished(found, work)
        # While the key lives the same request again is the one question with a sure answer, and takes money only once.
        return await self._burn(work) if _unwanted(work) else await self.charge(work)

    async def confirm(self, charge_id: str) -> Charge:
        found = await self._calls.get(charge_id)
        return _charge(await self._calls.confirm(charge_id, self._return_url) if found.unconfirmed else found)

    async def capture(self, charge: Charge, attempt_id: str) -> Charge:  # noqa: ARG002 - others need the attempt for a key
        held = to_stripe(Money(charge.authorized_minor, charge.amount.currency))
        return _charge(await self._calls.capture(charge.id, held))

    async def void(self, charge_id: str) -> Charge:
        return _charge(await self._calls.cancel(charge_id))

    async def undo(self, charge: Charge, attempt_id: str) -> Charge:
        if charge.status is not ChargeStatus.SUCCEEDED:
            return await self.void(charge.id)
        left_minor = charge.captured_minor - charge.refunded_minor
        amount = to_stripe(Money(left_minor, charge.amount.currency))
        with contextlib.suppress(RequestRefused):
            before = [_repayment(each) async for each in self._calls.refunds(charge.id)]
            key = key_of_undo(charge.id, left_minor, before)
            await self._calls.refund(charge.id, amount, {ATTEMPT: attempt_id}, key)
        return _charge(await self._calls.get(charge.id))

    async def refund(self, work: RefundWork) -> Repayment:
        metadata = {REFUND: work.refund.id, REFUND_KEY: work.refund.key, PAYMENT: work.refund.payment_id}
        return _repayment(await self._calls.refund(work.charge_id, _amount(work.amount), metadata, work.refund.key))

    async def find_refund(self, work: RefundWork) -> Repayment | None:
        async for refund in self._calls.refunds(work.charge_id):
            if (refund.metadata or {}).get(REFUND_KEY) == work.refund.key:
                return _repayment(refund)
        return None

    async def holdings(self) -> Sequence[Holding]:
        captured: dict[str, int] = {}
        refunded: dict[str, int] = {}
        async for intent in self._calls.every(max_pages=MAX_HOLDING_PAGES):
            charge = _charge(intent)
            if charge.captured_minor and ATTEMPT in intent.metadata:
                currency = charge.amount.currency
                captured[currency] = captured.get(currency, 0) + charge.captured_minor
                refunded[currency] = refunded.get(currency, 0) + charge.refunded_minor
        return [
            Holding(currency=currency, captured_minor=captured[currency], refunded_minor=refunded[currency])
            for currency in sorted(captured)
        ]

    async def list_charges(self, since: datetime) -> AsyncIterator[Listed]:
        async for intent in self._calls.every(max_pages=MAX_LISTING_PAGES):
            if intent.created < since.timestamp():
                return
            # The account may serve others beside us: theirs are none of our business.
            if ATTEMPT in intent.metadata:
                yield Listed(charge=_charge(intent), attempt_id=intent.metadata[ATTEMPT])

    def read_notice(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Notice:
        self._check_signature(headers.get(SIGNATURE_HEADER), body, now)
        try:
            event = msgspec.json.decode(body, type=Event)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise Invalid("malformed-json", "The body is not an event.", status=400) from exc
        about = event.data.object
        metadata = about.metadata or {}
        attempt_id, refund_id = metadata.get(ATTEMPT, ""), metadata.get(REFUND, "")
        # That it was made is told while the request that makes it is under way: there is nothing to ask yet.
        told = about.object in ("payment_intent", "charge") and event.type != "payment_intent.created"
        return Notice(
            event_id=event.id,
            type=event.type,
            attempt_id=attempt_id if told and is_id(attempt_id) else None,
            refund_id=refund_id if about.object == "refund" and is_id(refund_id) else None,
        )

    async def close(self) -> None:
        await self._client.close()

    async def _create(self, work: ChargeWork) -> Charge:
        asked = _parameters(work) | {"confirm": True, "return_url": self._return_url}
        intent, replayed = await self._calls.create(asked, work.attempt.id)
        if replayed:
            # The answer of that time; where it stands now is another question.
            return await self._finished(await self._calls.get(intent.id), work)
        return _charge(intent)

    async def _burn(self, work: ChargeWork) -> Charge:
        """Make sure that the attempt's key charges nothing: use it up, for a PaymentIntent that nobody confirms."""
        try:
            intent, _ = await self._calls.create(_parameters(work), work.attempt.id)
        except KeyUsed:
            # So the charge was asked for. The very same request again is answered from memory, and starts nothing.
            return await self.charge(work)
        return await self.void(intent.id)

    async def _finished(self, intent: Intent, work: ChargeWork) -> Charge:
        """What was found, and an end to what would otherwise wait for somebody who never comes."""
        if intent.declined and intent.status == "requires_payment_method":
            # The customer's browser may know its secret, from the bank's page: nobody shall pay for it later.
            closed = await self._calls.cancel(intent.id)
            return _charge(intent if closed.status == "canceled" else closed)
        if intent.unconfirmed and not _unwanted(work):
            if work.age_s < GIVE_UP_AFTER_S:
                raise OutcomeUnknown("provider-outcome-unknown", "The provider is about to take it.")
            return _charge(await self._calls.confirm(intent.id, self._return_url))
        return _charge(intent)

    def _check_signature(self, header: str | None, body: bytes, now: datetime) -> None:
        check_age(header, now)
        for secret in self._webhook_secrets:
            # The SDK takes body and header for text, and stumbles over what is none.
            with contextlib.suppress(stripe.SignatureVerificationError, ValueError, TypeError):
                stripe.WebhookSignature.verify_header(body, header, secret)
                return
        raise invalid_signature()


def _parameters(work: ChargeWork) -> dict[str, Any]:
    """What the PaymentIntent of an attempt is made of. Raises RequestRefused: Stripe cannot take such an amount."""
    payment = work.payment
    return {
        "amount": _amount(payment.amount),
        "currency": payment.amount.currency.lower(),
        "payment_method": payment.payment_method,
        # Cards alone: what settles after days would outlast the order. And a card's challenge is a page to go to.
        "payment_method_types": ["card"],
        "capture_method": "automatic" if work.capture else "manual",
        "metadata": {ATTEMPT: work.attempt.id, PAYMENT: payment.id, ORDER: payment.order_id},
    }


def _unwanted(work: ChargeWork) -> bool:
    """Whether the money is no longer asked for."""
    given_up = work.attempt.status is AttemptStatus.CANCELLED or work.attempt.step is Step.VOID
    return given_up or work.payment.order_cancelled


def _amount(money: Money) -> int:
    try:
        return to_stripe(money)
    except NotExpressible as exc:
        raise RequestRefused(exc.code) from exc


def _charge(intent: Intent) -> Charge:
    try:
        return intent.charge()
    except NotExpressible as exc:
        raise OutcomeUnknown("provider-outcome-unknown", "The provider's amount cannot be read.") from exc


def _repayment(refund: WireRefund) -> Repayment:
    try:
        return refund.repayment()
    except NotExpressible as exc:
        raise OutcomeUnknown("provider-outcome-unknown", "The provider's amount cannot be read.") from exc
