"""How order-service is assembled."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from tradewind.chassis.cache import Cache
from tradewind.chassis.clock import Clock
from tradewind.chassis.foundation import Foundation
from tradewind.chassis.outbox import Outbox
from tradewind.chassis.postgres import Database
from tradewind.chassis.service import Service
from tradewind.contracts import order
from tradewind.services.order.clients import Addresses
from tradewind.services.order.jobs import expiry_job
from tradewind.services.order.settings import OrderSettings


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the use cases work with."""

    clock: Clock
    database: Database
    outbox: Outbox
    cache: Cache
    addresses: Addresses
    pending_ttl_s: float = 900.0
    expiry_batch: int = 100
    product_ttl_s: float = 10.0


def create_app(settings: OrderSettings, parts: Parts | None = None) -> Service[Parts]:
    """Describe the service; `parts` replaces what would be assembled (tests)."""
    from tradewind.services.order.api import api
    from tradewind.services.order.consumer import handlers

    @contextlib.asynccontextmanager
    async def assemble(foundation: Foundation) -> AsyncIterator[Parts]:
        yield parts or Parts(
            clock=foundation.clock,
            database=foundation.database,
            outbox=foundation.outbox,
            cache=foundation.cache,
            addresses=Addresses(foundation.mesh),
            pending_ttl_s=settings.pending_ttl_s,
            expiry_batch=settings.expiry_batch,
            product_ttl_s=settings.product_ttl_s,
        )

    return Service(
        room="order",
        api=api,
        assemble=assemble,
        handlers=handlers,
        jobs=lambda _parts: [expiry_job(settings.expiry_every_s)],
        emits=order.EVENTS,
    )
