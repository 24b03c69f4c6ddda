"""How analytics-service is assembled."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from tradewind.chassis.foundation import Foundation
from tradewind.chassis.service import Service
from tradewind.services.analytics.api import api
from tradewind.services.analytics.consumer import handlers
from tradewind.services.analytics.parts import Parts
from tradewind.services.analytics.settings import AnalyticsSettings

LINGER_S = 0.1
"""Figures may be a moment old; many events then share a transaction."""


def create_app(settings: AnalyticsSettings, parts: Parts | None = None) -> Service[Parts]:  # noqa: ARG001 - as in every room
    """The service, ready to be served; `parts` replaces what it would assemble by itself."""

    @contextlib.asynccontextmanager
    async def assemble(foundation: Foundation) -> AsyncIterator[Parts]:
        yield parts or Parts(database=foundation.database)

    return Service(room="analytics", api=api, assemble=assemble, handlers=handlers, linger_s=LINGER_S)
