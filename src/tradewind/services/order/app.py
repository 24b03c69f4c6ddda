"""How order-service is assembled."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from tradewind.chassis.foundation import Foundation
from tradewind.chassis.service import Service
from tradewind.contracts import order
from tradewind.services.order.api import api
from tradewind.services.order.clients import Addresses
from tradewind.services.order.consumer import handlers
from tradewind.services.order.following import Following
from tradewind.services.order.jobs import deadline_job
from tradewind.services.order.measures import Measures
from tradewind.services.order.parts import Parts
from tradewind.services.order.settings import OrderSettings

LINGER_S = 0.02
"""An order takes some tens of milliseconds to settle anyway, most of them the provider's."""


def create_app(settings: OrderSettings, parts: Parts | None = None) -> Service[Parts]:
    """The service, ready to be served; `parts` replaces what it would assemble by itself."""

    @contextlib.asynccontextmanager
    async def assemble(foundation: Foundation) -> AsyncIterator[Parts]:
        following = Following(
            foundation.database,
            foundation.draining,
            look_every_s=settings.stream_look_every_s,
            most=settings.streams_max,
        )
        foundation.metrics.watch("order_streams", "Orders that are followed now.", lambda: following.count)
        yield parts or Parts(
            clock=foundation.clock,
            database=foundation.database,
            outbox=foundation.outbox,
            cache=foundation.cache,
            addresses=Addresses(foundation.mesh),
            measures=Measures(foundation.metrics),
            following=following,
            live=foundation.live_settings(OrderSettings),
        )
        await following.close()

    return Service(
        room="order",
        api=api,
        assemble=assemble,
        handlers=handlers,
        linger_s=LINGER_S,
        jobs=lambda _parts: [deadline_job(settings.expiry_every_s)],
        emits=order.EVENTS,
    )
