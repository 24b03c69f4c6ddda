"""Stripe's list of PaymentIntents."""

from __future__ import annotations

from tradewind.audit.sources import Charge
from tradewind.chassis.errors import Unavailable
from tradewind.chassis.third_party import ThirdPartyClient

STRIPE_URL = "https://api.stripe.com"
TIMEOUT_S = 10.0
MAX_PAGES = 1_000
"""Of 100 PaymentIntents each. An account with more has Stripe's own reports."""


class StripeCharges:
    """Reads what Stripe took through the same SDK and the same reading of its answers as payment-service."""

    name = "stripe"

    def __init__(self, api_key: str, url: str = STRIPE_URL) -> None:
        """A restricted key that may read PaymentIntents and charges is enough."""
        self._api_key = api_key
        self._url = url.rstrip("/")

    async def charges(self) -> list[Charge]:
        """All PaymentIntents that took money, oldest first.

        Raises:
            Unavailable: the provider is away, does not know the key, or has more to tell than `MAX_PAGES`.
        """
        # Only its users shall pay for the SDK.
        from tradewind.services.payment.providers.stripe_amounts import NotExpressible
        from tradewind.services.payment.providers.stripe_calls import StripeCalls
        from tradewind.services.payment.providers.stripe_wire import ATTEMPT

        client = ThirdPartyClient(self._url, "stripe")
        calls = StripeCalls(client, self._url, api_key=self._api_key, timeout_s=TIMEOUT_S)
        found: list[Charge] = []
        try:
            async for intent in calls.every(max_pages=MAX_PAGES):
                try:
                    charge = intent.charge()
                except NotExpressible as exc:
                    raise Unavailable("provider-unreadable", f"The amount of {intent.id} cannot be read.") from exc
                if charge.captured_minor > 0:
                    found.append(
                        Charge(
                            id=charge.id,
                            attempt_id=intent.metadata.get(ATTEMPT, ""),
                            order_id=charge.reference,
                            captured_minor=charge.captured_minor,
                            refunded_minor=charge.refunded_minor,
                            currency=charge.amount.currency,
                        )
                    )
        finally:
            await client.close()
        return found[::-1]
