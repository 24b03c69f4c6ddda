"""Proof that what a foreign registry says of an instance was said by its room.

Consul and the DNS tell what somebody wrote there. The room signs what it says of itself with its token
(`mesh/identity.py`), and the control plane, which can make any room's token, checks it: without the token nobody gets
requests, whatever the registry's own access control allows.
"""

from __future__ import annotations

import hashlib
import hmac


def proof(token: str, *words: str) -> str:
    """The signature of `words`, in order, by the owner of `token`: 64 lower-case hex digits."""
    # Each with its length, so that no two lists of words read the same.
    text = "".join(f"{len(word.encode())}:{word}" for word in words)
    return hmac.new(token.encode(), text.encode(), hashlib.sha256).hexdigest()


def is_proof(given: str, token: str, *words: str) -> bool:
    """Whether `given` is the proof of `words`."""
    return hmac.compare_digest(given.encode(), proof(token, *words).encode())
