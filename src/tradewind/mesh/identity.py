"""Identities in the mesh: the tokens of rooms, the proxy and the operator, and the names in their certificates.

A room's token is `hex(HMAC-SHA256(platform secret, room))`: the stack, compose or Kubernetes hand each room its own,
and the control plane, which alone knows the secret, can check any of them without keeping a list. The proxy's and the
operator's are made the same way from names that no room can have.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

TRUST_DOMAIN = "tradewind"
PROXY = "envoy"
"""Whose certificate the proxy shows, to callers and to services."""

_PROXY_NAME = "the-proxy"
_OPERATOR_NAME = "the-operator"


def room_token(secret: str, room: str) -> str:
    """The token of `room`: 64 lower-case hex digits."""
    return hmac.new(secret.encode(), room.encode(), hashlib.sha256).hexdigest()


def proxy_token(secret: str) -> str:
    """What Envoy shows the control plane to be told what to run; registers nobody."""
    return room_token(secret, _PROXY_NAME)


def operator_token(secret: str) -> str:
    """What the command line shows the control plane to see how the mesh stands; registers nobody."""
    return room_token(secret, _OPERATOR_NAME)


def spiffe_id(room: str) -> str:
    """The name of `room` in its certificate: `spiffe://tradewind/order` (SPIFFE ID specification, section 2)."""
    return f"spiffe://{TRUST_DOMAIN}/{room}"


class RoomIdentities:
    """Checks the tokens made with one platform secret."""

    def __init__(self, secret: str) -> None:
        if not secret:
            raise ValueError("the platform secret is empty")
        self._secret = secret

    def token_of(self, room: str) -> str:
        """The token of `room`, to check what it signed with."""
        return room_token(self._secret, room)

    def is_token_of(self, token: str, room: str) -> bool:
        """Whether `token` is the identity of `room`."""
        return hmac.compare_digest(token.encode(), room_token(self._secret, room).encode())

    def is_proxy(self, token: str) -> bool:
        """Whether `token` is the proxy's."""
        return self.is_token_of(token, _PROXY_NAME)

    def is_operator(self, token: str) -> bool:
        """Whether `token` is the operator's."""
        return self.is_token_of(token, _OPERATOR_NAME)

    def room_of(self, token: str, rooms: Iterable[str]) -> str | None:
        """Which of `rooms` the token belongs to, or None."""
        return next((room for room in rooms if self.is_token_of(token, room)), None)
