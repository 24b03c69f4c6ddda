"""The signature of a webhook: `t=<unix seconds>,v1=<hex HMAC-SHA256 of "t.rawbody">`."""

from __future__ import annotations

import hashlib
import hmac

SIGNATURE_HEADER = "Sandbox-Signature"


def sign(secret: str, body: bytes, at_s: int) -> str:
    """The signature header of `body`, sent at `at_s`. The time is signed too, so that a recording goes stale."""
    signed = b"%d." % at_s + body
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={digest}"
