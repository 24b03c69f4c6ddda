"""What the use cases of auth-service work with; `app.py` puts it together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tradewind.chassis.clock import Clock
from tradewind.chassis.outbox import Outbox
from tradewind.chassis.postgres import Database
from tradewind.services.auth.passwords import Passwords
from tradewind.services.auth.tokens import AccessTokens


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the use cases work with. `signing_keys_file` is followed while we run; None: the keys stay as they are."""

    database: Database
    outbox: Outbox
    clock: Clock
    passwords: Passwords
    tokens: AccessTokens
    session_ttl_s: float
    signing_keys_file: Path | None = None
