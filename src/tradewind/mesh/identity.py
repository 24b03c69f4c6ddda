"""Identities of rooms towards the registry.

A room's token is `hex(HMAC-SHA256(platform secret, room))`: the stack, compose or Kubernetes hand each room its own,
and the control plane, which alone knows the secret, can check any of them without keeping a list.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable


def room_token(secret: str, room: str) -> str:
    """The token of `room`: 64 lower-case hex digits."""
    return hmac.new(secret.encode(), room.encode(), hashlib.sha256).hexdigest()


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

    def room_of(self, token: str, rooms: Iterable[str]) -> str | None:
        """Which of `rooms` the token belongs to, or None."""
        return next((room for room in rooms if self.is_token_of(token, room)), None)
