"""What Stripe's refusals mean: whether it did something, did nothing, or may have.

Sources: https://docs.stripe.com/error-low-level, https://docs.stripe.com/api/errors
"""

from __future__ import annotations

import stripe

from tradewind.chassis.logs import get_logger
from tradewind.chassis.third_party import NotSent, OutcomeUnknown
from tradewind.services.payment.providers import RequestRefused

_log = get_logger(__name__)


class KeyRefused(NotSent):
    """Stripe does not take our API key, or the key may not do this: nothing will work until somebody changes it."""


class KeyUsed(OutcomeUnknown):
    """The idempotency key has been used for a request with other parameters."""


class ServerFailed(OutcomeUnknown):
    """5xx. Stripe keeps it under the idempotency key, and repeats it there, whatever it has done or not."""


def failure(error: stripe.StripeError) -> NotSent | OutcomeUnknown | RequestRefused:
    """The error in our words. Its message is not passed on: it may quote what we sent."""
    status, code = error.http_status or 0, error.code or (error.error.code if error.error else None)
    _log.warning("stripe refused", status=status, code=code, kind=type(error).__name__, request=error.request_id)
    match error:
        case stripe.AuthenticationError() | stripe.PermissionError():
            _log.error("stripe does not accept PAYMENT_STRIPE_API_KEY for this: check the key and its permissions")
            return KeyRefused("provider-refused-key", "The provider does not accept the API key.")
        case stripe.RateLimitError():
            return NotSent("provider-unavailable", "The provider asks to be slower.")
        case stripe.IdempotencyError():
            return KeyUsed("provider-outcome-unknown", "The provider has seen this key with another request.")
        case stripe.InvalidRequestError() if code == "resource_missing" and error.param == "payment_method":
            return RequestRefused("payment_method_unknown")
        case stripe.InvalidRequestError() | stripe.CardError():
            return RequestRefused(code or "request_refused")
    if status >= 500:
        return ServerFailed("provider-outcome-unknown", f"The provider answered {status}.")
    # 409: the same key is under way. Anything else we do not know.
    return OutcomeUnknown("provider-outcome-unknown", f"The provider answered {status}.")
