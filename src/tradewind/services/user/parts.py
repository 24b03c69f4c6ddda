"""What the use cases of user-service work with; `app.py` puts it together."""

from __future__ import annotations

from dataclasses import dataclass

from tradewind.chassis.outbox import Outbox
from tradewind.chassis.postgres import Database


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the use cases work with."""

    database: Database
    outbox: Outbox
