"""What the use cases of order-service work with; `app.py` puts it together."""

from __future__ import annotations

from dataclasses import dataclass

from tradewind.chassis.cache import Cache
from tradewind.chassis.clock import Clock
from tradewind.chassis.live import Live
from tradewind.chassis.outbox import Outbox
from tradewind.chassis.postgres import Database
from tradewind.services.order.clients import Addresses
from tradewind.services.order.domain.moving import Patience
from tradewind.services.order.following import Following
from tradewind.services.order.measures import Measures
from tradewind.services.order.settings import OrderSettings


@dataclass(frozen=True, kw_only=True)
class Parts:
    """`live` are the room's settings as they are now; what follows from them is asked for each time it is needed."""

    clock: Clock
    database: Database
    outbox: Outbox
    cache: Cache
    addresses: Addresses
    measures: Measures
    following: Following
    live: Live[OrderSettings]

    @property
    def patience(self) -> Patience:
        """How long each deadline is, in seconds."""
        now = self.live.value
        return {
            "payment": now.pending_ttl_s,
            "shipping": now.shipping_ttl_s,
            "delivery": now.delivery_ttl_s,
            "settlement": now.settlement_ttl_s,
        }

    @property
    def expiry_batch(self) -> int:
        """Most orders that one transaction takes past their deadline."""
        return self.live.value.expiry_batch

    @property
    def product_ttl_s(self) -> float:
        """How long a product may be cached."""
        return self.live.value.product_ttl_s

    @property
    def stream_ttl_s(self) -> float:
        """How long a stream lasts at most."""
        return self.live.value.stream_ttl_s
