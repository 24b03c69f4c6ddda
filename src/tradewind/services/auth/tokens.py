"""The two tokens of a session: the access token every service verifies by itself, and the refresh token only we know.

An access token is valid for 600 s wherever it is shown and is not looked up: a session that has ended, a role taken back or
a disabled user are noticed when it is refreshed, so 10 minutes later at the latest.

A refresh token is 512 random bits. The first half stays the same as long as the session lasts (its lineage), the second half
changes with each refresh; we keep their SHA-256. Whoever shows a known lineage with another second half has an old token, used
before, stolen or doubled, and ends the session (RFC 9700 section 4.14.2). So reuse is noticed however old the token is, and
nothing is kept of the past.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from pathlib import Path
from typing import Any

import msgspec

from tradewind.chassis.clock import Clock
from tradewind.chassis.identity import AUDIENCE, ISSUER
from tradewind.chassis.ids import new_id
from tradewind.chassis.signing import TokenSigner
from tradewind.services.auth.domain import Account

ACCESS_TTL_S = 600
HALF_BYTES = 32
PREFIX = "twr_"
"""Lets secret scanners and people see what a leaked string is."""

_TEXT = re.compile(rf"{PREFIX}([A-Za-z0-9_-]{{86}})")


class AccessTokens:
    """Makes access tokens with the platform's active key."""

    def __init__(self, signer: TokenSigner, clock: Clock) -> None:
        self._signer = signer
        self._clock = clock

    def jwks(self) -> dict[str, list[dict[str, Any]]]:
        """The public key set, as it is to be published now."""
        return self._signer.jwks()

    def key_ids(self) -> list[str]:
        """The `kid` of the active key, and then of all that are published."""
        return [self._signer.active, *(str(key["kid"]) for key in self.jwks()["keys"])]

    def follow(self, keys_file: Path) -> None:
        """Take up what the file says now. Raises KeysFileError; the keys then stay as they were."""
        self._signer.reload(keys_file, self._clock.now().timestamp())

    def issue(self, account: Account, session_id: str) -> str:
        """A JWT of RFC 9068 for `account`, valid `ACCESS_TTL_S` from now."""
        now_s = int(self._clock.now().timestamp())
        return self._signer.sign(
            {
                "iss": ISSUER,
                "aud": AUDIENCE,
                "sub": account.id,
                "email": account.email,
                "name": account.name,
                "roles": list(account.roles),
                "sid": session_id,
                "iat": now_s,
                "exp": now_s + ACCESS_TTL_S,
                "jti": new_id(),
            }
        )


class RefreshToken(msgspec.Struct, frozen=True):
    """A refresh token in the hands of its owner."""

    lineage: bytes
    secret: bytes

    @classmethod
    def new(cls) -> RefreshToken:
        """The first token of a session."""
        return cls(secrets.token_bytes(HALF_BYTES), secrets.token_bytes(HALF_BYTES))

    @classmethod
    def parse(cls, text: str) -> RefreshToken | None:
        """The token in `text`, or None where there is none."""
        found = _TEXT.fullmatch(text)
        if found is None:
            return None
        raw = base64.urlsafe_b64decode(found.group(1) + "==")
        return cls(raw[:HALF_BYTES], raw[HALF_BYTES:])

    def successor(self) -> RefreshToken:
        """The next token of the same session."""
        return RefreshToken(self.lineage, secrets.token_bytes(HALF_BYTES))

    @property
    def lineage_hash(self) -> bytes:
        """32 bytes by which the session is found."""
        return hashlib.sha256(self.lineage).digest()

    @property
    def secret_hash(self) -> bytes:
        """32 bytes that tell the present token from those before it."""
        return hashlib.sha256(self.secret).digest()

    def reveal(self) -> str:
        """The text for the owner; it is written down nowhere."""
        return PREFIX + base64.urlsafe_b64encode(self.lineage + self.secret).rstrip(b"=").decode()

    def __repr__(self) -> str:
        return "RefreshToken(***)"
