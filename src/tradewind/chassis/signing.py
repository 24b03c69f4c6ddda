"""Signing access tokens: only auth-service has the private keys.

The keys file is `{"active": kid, "keys": [{"kid": ..., "pem": ..., "retires_at": ...}]}`. All keys in it are published, the
active one signs. So a key is added first, made active once everybody has it, and the one before it retires (Unix time, seconds)
when what it signed has expired. A running auth-service takes up a changed file by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from jwt.algorithms import ECAlgorithm

from tradewind.chassis.identity import ALGORITHM, TOKEN_TYPE


class SigningKey(msgspec.Struct, frozen=True):
    """A P-256 private key as PKCS #8 PEM, under the name that tokens refer to it by."""

    kid: str
    pem: str
    retires_at: int | None = None

    def __repr__(self) -> str:
        return f"SigningKey(kid={self.kid!r})"


class _KeysFile(msgspec.Struct, frozen=True):
    active: str
    keys: list[SigningKey]


class KeysFileError(Exception):
    """The keys file cannot be used; the message says why and holds no key."""


class TokenSigner:
    """Signs with the active key and publishes the public half of all of them."""

    def __init__(self, active: str, keys: Sequence[SigningKey]) -> None:
        """Raises KeysFileError: a key is no P-256 key, a name is doubled, or the active one is not among them."""
        self._take(active, keys)

    def _take(self, active: str, keys: Sequence[SigningKey]) -> None:
        private = {key.kid: _private_key(key) for key in keys}
        if len(private) != len(keys):
            raise KeysFileError("two keys have the same kid")
        if active not in private:
            raise KeysFileError(f"the active key {active!r} is not among the keys")
        self._private, self._active = private, active

    @classmethod
    def load(cls, path: Path) -> TokenSigner:
        """Read the keys file.

        Raises:
            KeysFileError: it is missing, unreadable or not such a file.
        """
        return cls(*read_keys(path))

    def reload(self, path: Path, now_s: float) -> None:
        """Take what is in the file now, without the keys that have retired by `now_s`.

        Raises:
            KeysFileError: the file cannot be used; the keys stay as they were.
        """
        active, keys = read_keys(path)
        self._take(
            active, [key for key in keys if key.kid == active or key.retires_at is None or key.retires_at > now_s]
        )

    @property
    def active(self) -> str:
        """The `kid` that new tokens are signed with."""
        return self._active

    def sign(self, claims: Mapping[str, Any], *, token_type: str = TOKEN_TYPE) -> str:
        """A compact JWT over `claims`, which the caller makes complete (iss, aud, sub, iat, exp, jti, ...)."""
        headers = {"kid": self._active, "typ": token_type}
        # UTF-8 as it is: PyJWT's own encoder would write six characters for one, and a long name past `MAX_TOKEN_CHARS`.
        payload = msgspec.json.encode(claims)
        return jwt.PyJWS().encode(payload, self._private[self._active], algorithm=ALGORITHM, headers=headers)

    async def fetch(self) -> bytes:
        """`jwks` as a key source for a `TokenVerifier` beside this signer."""
        return msgspec.json.encode(self.jwks())

    async def close(self) -> None:
        """There is nothing to close."""

    def jwks(self) -> dict[str, list[dict[str, Any]]]:
        """The public JSON Web Key Set (RFC 7517)."""
        return {
            "keys": [
                ECAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": kid, "use": "sig", "alg": ALGORITHM}
                for kid, key in self._private.items()
            ]
        }


def read_keys(path: Path) -> tuple[str, list[SigningKey]]:
    """The `kid` of the active key, and all keys of the file.

    Raises:
        KeysFileError: it is missing, unreadable or not such a file.
    """
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_KeysFile)
    except OSError as exc:
        raise KeysFileError(f"{path.name}: {exc.strerror}") from exc
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Without the cause: its message may quote what was read.
        raise KeysFileError(f"{path.name} is no keys file") from None
    return file.active, file.keys


def new_signing_key(kid: str) -> SigningKey:
    """A fresh P-256 key."""
    key = ec.generate_private_key(ec.SECP256R1())
    return SigningKey(kid, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def keys_file(active: str, keys: Sequence[SigningKey]) -> bytes:
    """The content of a keys file; write it with mode 0600."""
    return msgspec.json.format(msgspec.json.encode(_KeysFile(active, list(keys))))


def _private_key(key: SigningKey) -> ec.EllipticCurvePrivateKey:
    try:
        private = load_pem_private_key(key.pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Without the cause: its message may quote the key.
        raise KeysFileError(f"key {key.kid!r} is not a PEM private key") from None
    if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(private.curve, ec.SECP256R1):
        raise KeysFileError(f"key {key.kid!r} is not a P-256 key")
    return private
