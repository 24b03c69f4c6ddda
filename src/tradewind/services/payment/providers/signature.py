"""Webhook signatures of the form `t=<unix seconds>,v1=<hex HMAC-SHA256 of "t.rawbody">`, as Stripe and the sandbox send them.

Source: https://docs.stripe.com/webhooks#verify-manually. The time is part of what is signed, so that a recorded webhook goes stale;
there may be several `v1`, while a secret is being replaced.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime

from tradewind.chassis.errors import Invalid

TOLERANCE_S = 300
MAX_HEADER_CHARS = 1_000
MAX_TIME_DIGITS = 12
"""Of the time a webhook was sent: enough for 30,000 years."""


def check_age(header: str | None, now: datetime) -> None:
    """Return if `header` says one time, within 5 minutes of `now`.

    Raises:
        Invalid: 400 `signature-invalid`.
    """
    _checked(header, now)


def check_signature(secret: str, header: str | None, body: bytes, now: datetime) -> None:
    """Return if `header` signs exactly these bytes, within 5 minutes of `now`.

    Raises:
        Invalid: 400 `signature-invalid`; it does not say what was wrong.
    """
    sent_at, signatures = _checked(header, now)
    expected = hmac.new(secret.encode(), sent_at.encode() + b"." + body, hashlib.sha256).hexdigest()
    if not any(hmac.compare_digest(expected.encode(), given.encode()) for given in signatures):
        raise invalid_signature()


def _checked(header: str | None, now: datetime) -> tuple[str, list[str]]:
    sent_at, signatures = _parse(header or "")
    if sent_at is None or abs(now.timestamp() - int(sent_at)) > TOLERANCE_S:
        raise invalid_signature()
    return sent_at, signatures


def _parse(header: str) -> tuple[str | None, list[str]]:
    sent_at: str | None = None
    signatures: list[str] = []
    if len(header) > MAX_HEADER_CHARS:
        return None, []
    for field in header.split(","):
        name, _, value = field.strip().partition("=")
        if name == "t":
            # Of two times the signature is of one, and readers could differ over which.
            if sent_at is not None or not (value.isascii() and value.isdigit() and len(value) <= MAX_TIME_DIGITS):
                return None, []
            sent_at = value
        elif name == "v1":
            signatures.append(value)
    return sent_at, signatures


def invalid_signature() -> Invalid:
    """The one refusal."""
    return Invalid("signature-invalid", "The signature does not fit the body, or is too old.", status=400)
