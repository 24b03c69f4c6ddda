"""What the use cases of auth-service work with; `app.py` puts it together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tradewind.chassis.clock import Clock
from tradewind.chassis.outbox import Outbox
from tradewind.chassis.postgres import Database
from tradewind.services.auth.passwords import Passwords
from tradewind.services.auth.tokens import AccessTokens


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the use cases work with. `jwks` is the public key set, as published."""

    database: Database
    outbox: Outbox
    clock: Clock
    passwords: Passwords
    tokens: AccessTokens
    jwks: dict[str, list[dict[str, Any]]]
    session_ttl_s: float
