"""The clock door of auth-service."""

from __future__ import annotations

from collections.abc import Sequence

from tradewind.chassis.jobs import Job
from tradewind.services.auth import usecases
from tradewind.services.auth.parts import Parts

EXPIRED_SESSIONS_EVERY_S = 600.0


def jobs(_parts: Parts) -> Sequence[Job[Parts]]:
    """What runs by itself."""
    return [Job("expired-sessions", EXPIRED_SESSIONS_EVERY_S, usecases.forget_expired_sessions)]
