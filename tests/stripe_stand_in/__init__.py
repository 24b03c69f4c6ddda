"""The other side of the `stripe` adapter: what Stripe does, as far as payments, refunds and their webhooks go.

Stripe's own `stripe-mock` holds no state, so this one does. It is not our reading of Stripe's API that it tests against:
every request and every answer is held to Stripe's published OpenAPI description (`openapi.json`, cut out of it by
`extract.py`, which names source and hash). Objects start as Stripe's own fixtures.

What no description says, and where it is from:
idempotency   https://docs.stripe.com/api/idempotent_requests
states        https://docs.stripe.com/payments/paymentintents/lifecycle
errors        https://docs.stripe.com/error-low-level, https://docs.stripe.com/error-codes
signatures    https://docs.stripe.com/webhooks#verify-manually
test methods  https://docs.stripe.com/testing
"""

API_KEY = "sk_test_0123456789abcdef"
WEBHOOK_SECRET = "whsec_0123456789abcdef"
