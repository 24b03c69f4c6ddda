"""Asking Stripe through its official SDK: answers as our own types, failures as the platform's."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import Any, TypeVar

import msgspec
import stripe

from tradewind.chassis.errors import Unavailable
from tradewind.chassis.logs import get_logger
from tradewind.chassis.third_party import OutcomeUnknown, ThirdPartyClient
from tradewind.services.payment.providers import RequestRefused
from tradewind.services.payment.providers.stripe_errors import KeyRefused, failure
from tradewind.services.payment.providers.stripe_http import StripeHttp
from tradewind.services.payment.providers.stripe_wire import (
    ATTEMPT,
    ErrorBody,
    Intent,
    Intents,
    WireRefund,
    WireRefunds,
)

PAGE = 100
MAX_REFUND_PAGES = 10
EXPAND = ["latest_charge"]
T = TypeVar("T")
_log = get_logger(__name__)


class StripeCalls:
    """One account at Stripe. Every call may raise NotSent or OutcomeUnknown; none is tried again by itself."""

    def __init__(self, client: ThirdPartyClient, base_url: str, *, api_key: str, timeout_s: float) -> None:
        """`client` calls `base_url`; each call may take `timeout_s`."""
        stripe.enable_telemetry = False
        # On debug the SDK logs whole answers, and in each is the secret with which a customer could pay.
        logging.getLogger("stripe").setLevel(logging.WARNING)
        sdk = stripe.StripeClient(
            api_key,
            base_addresses={"api": base_url},
            http_client=StripeHttp(client, base_url, timeout_s=timeout_s),
            # What is unknown stays unknown, and is asked for by its key: never a retry that nobody sees.
            max_network_retries=0,
        )
        self._intents = sdk.v1.payment_intents
        self._refunds = sdk.v1.refunds
        self.key_refused = False

    async def create(self, parameters: dict[str, Any], key: str) -> tuple[Intent, bool]:
        """The PaymentIntent of a key, a declined one too, and whether this is Stripe's answer of an earlier time.

        Raises:
            RequestRefused: nothing was made.
        """
        made: Any = parameters | {"expand": EXPAND}
        options: Any = {"idempotency_key": key}
        try:
            answer = await self._asked(self._intents.create_async(made, options))
        except stripe.CardError as exc:
            declined = _decode((exc.http_body or "").encode(), ErrorBody).error.payment_intent
            if declined is None:
                raise failure(exc) from exc
            return declined, _replayed(exc.headers)
        except stripe.InvalidRequestError as exc:
            raise failure(exc) from exc
        return _decode(answer.body, Intent), _replayed(answer.headers)

    async def find(self, intent_id: str) -> Intent | None:
        """A PaymentIntent as it is now."""
        try:
            answer = await self._asked(self._intents.retrieve_async(intent_id, {"expand": EXPAND}))
        except stripe.InvalidRequestError as exc:
            if exc.http_status == 404:
                return None
            raise OutcomeUnknown("provider-outcome-unknown", f"The provider answered {exc.code}.") from exc
        return _decode(answer.body, Intent)

    async def get(self, intent_id: str) -> Intent:
        """A PaymentIntent that is there. Raises OutcomeUnknown: it is not."""
        found = await self.find(intent_id)
        if found is None:
            raise OutcomeUnknown("provider-outcome-unknown", "The provider does not know its own charge.")
        return found

    async def search(self, attempt_id: str) -> Intent | None:
        """Look by metadata. The index runs behind, so that nothing there proves nothing, and the hit is looked up."""
        query = f'metadata["{ATTEMPT}"]:"{attempt_id}"'
        try:
            answer = await self._answered(self._intents.search_async({"query": query, "limit": PAGE}))
        except RequestRefused as exc:
            raise OutcomeUnknown("provider-outcome-unknown", f"The provider answered {exc.code}.") from exc
        hits = _decode(answer.body, Intents).data
        return await self.find(hits[0].id) if hits else None

    async def every(self, *, max_pages: int) -> AsyncIterator[Intent]:
        """All PaymentIntents, newest first.

        Raises:
            Unavailable: `provider-list-too-long`, there are more than `max_pages` of 100; `provider-refused`.
        """
        after: dict[str, str] = {}
        for _ in range(max_pages):
            parameters: Any = {"limit": PAGE, "expand": ["data.latest_charge"], **after}
            try:
                page = _decode((await self._answered(self._intents.list_async(parameters))).body, Intents)
            except RequestRefused as exc:
                raise Unavailable("provider-refused", f"The provider answered {exc.code}.") from exc
            for intent in page.data:
                yield intent
            if not page.has_more or not page.data:
                return
            after = {"starting_after": page.data[-1].id}
        raise Unavailable("provider-list-too-long", f"The provider has more than {max_pages * PAGE} payments to list.")

    async def confirm(self, intent_id: str, return_url: str) -> Intent:
        """Ask for the money of one that was made and not confirmed."""
        return await self._moved(
            intent_id, self._intents.confirm_async(intent_id, {"return_url": return_url, "expand": EXPAND})
        )

    async def capture(self, intent_id: str, amount: int) -> Intent:
        """Take so much of what is held."""
        return await self._moved(
            intent_id, self._intents.capture_async(intent_id, {"amount_to_capture": amount, "expand": EXPAND})
        )

    async def cancel(self, intent_id: str) -> Intent:
        """Let go of what is not taken."""
        return await self._moved(intent_id, self._intents.cancel_async(intent_id, {"expand": EXPAND}))

    async def refund(self, intent_id: str, amount: int, metadata: dict[str, str], key: str) -> WireRefund:
        """Give back so much, once for the key. Raises RequestRefused."""
        parameters: Any = {"payment_intent": intent_id, "amount": amount, "metadata": metadata}
        options: Any = {"idempotency_key": key}
        return _decode((await self._answered(self._refunds.create_async(parameters, options))).body, WireRefund)

    async def refunds(self, intent_id: str) -> AsyncIterator[WireRefund]:
        """All refunds of a PaymentIntent, newest first. Raises OutcomeUnknown: there are more than 1,000."""
        after: dict[str, str] = {}
        for _ in range(MAX_REFUND_PAGES):
            parameters: Any = {"payment_intent": intent_id, "limit": PAGE, **after}
            page = _decode((await self._answered(self._refunds.list_async(parameters))).body, WireRefunds)
            for refund in page.data:
                yield refund
            if not page.has_more or not page.data:
                return
            after = {"starting_after": page.data[-1].id}
        raise OutcomeUnknown("provider-outcome-unknown", "The charge has more refunds than can be looked through.")

    async def _moved(self, intent_id: str, call: Awaitable[stripe.PaymentIntent]) -> Intent:
        """The PaymentIntent after a move. Its state allows each move once, so it needs no key of ours; a refusal says: look."""
        try:
            return _decode((await self._answered(call)).body, Intent)
        except RequestRefused:
            return await self.get(intent_id)

    async def _asked(self, call: Awaitable[stripe.StripeObject]) -> _Answer:
        """The answer. Raises CardError and InvalidRequestError as they are; NotSent, OutcomeUnknown."""
        try:
            result = await call
        except (stripe.CardError, stripe.InvalidRequestError):
            self.key_refused = False
            raise
        except stripe.StripeError as exc:
            found = failure(exc)
            self.key_refused = isinstance(found, KeyRefused) or self.key_refused
            raise found from exc
        self.key_refused = False
        response = result.last_response
        if response is None:
            raise OutcomeUnknown("provider-outcome-unknown", "The provider's answer cannot be read.")
        return _Answer(response.body.encode(), response.headers)

    async def _answered(self, call: Awaitable[stripe.StripeObject]) -> _Answer:
        """The answer. Raises RequestRefused, NotSent, OutcomeUnknown."""
        try:
            return await self._asked(call)
        except stripe.StripeError as exc:
            raise failure(exc) from exc


class _Answer(msgspec.Struct, frozen=True):
    body: bytes
    headers: Mapping[str, str]


def _replayed(headers: Mapping[str, str] | None) -> bool:
    return (headers or {}).get("idempotent-replayed") == "true"


def _decode(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        _log.error("the provider's answer cannot be read", error=str(exc))
        raise OutcomeUnknown("provider-outcome-unknown", "The provider's answer cannot be read.") from exc
