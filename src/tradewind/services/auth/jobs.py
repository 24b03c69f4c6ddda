"""The clock door of auth-service."""

from __future__ import annotations

from collections.abc import Sequence

from tradewind.chassis.jobs import Job
from tradewind.services.auth import usecases
from tradewind.services.auth.parts import Parts

EXPIRED_SESSIONS_EVERY_S = 600.0
SIGNING_KEYS_EVERY_S = 1.0


def jobs(_parts: Parts) -> Sequence[Job[Parts]]:
    """What runs by itself."""
    return [
        Job("expired-sessions", EXPIRED_SESSIONS_EVERY_S, usecases.forget_expired_sessions),
        Job("signing-keys", SIGNING_KEYS_EVERY_S, usecases.follow_signing_keys),
    ]
