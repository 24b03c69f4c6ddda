"""What the use cases of analytics-service work with; `app.py` puts it together."""

from __future__ import annotations

from dataclasses import dataclass

from tradewind.chassis.postgres import Database


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Figures are read from the replica where there is one."""

    database: Database
