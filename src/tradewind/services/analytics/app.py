"""How analytics-service is assembled."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from tradewind.chassis.foundation import Foundation
from tradewind.chassis.postgres import Database
from tradewind.chassis.service import Service
from tradewind.services.analytics.settings import AnalyticsSettings


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the use cases work with."""

    database: Database


def create_app(settings: AnalyticsSettings, parts: Parts | None = None) -> Service[Parts]:  # noqa: ARG001 - every room takes its settings
    """Describe the service; `parts` replaces what would be assembled (tests)."""
    from tradewind.services.analytics.api import api
    from tradewind.services.analytics.consumer import handlers

    @contextlib.asynccontextmanager
    async def assemble(foundation: Foundation) -> AsyncIterator[Parts]:
        yield parts or Parts(database=foundation.database)

    return Service(room="analytics", api=api, assemble=assemble, handlers=handlers)
