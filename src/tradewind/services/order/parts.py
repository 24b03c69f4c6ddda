"""What the use cases of order-service work with; `app.py` puts it together."""

from __future__ import annotations

from dataclasses import dataclass, field

from tradewind.chassis.cache import Cache
from tradewind.chassis.clock import Clock
from tradewind.chassis.outbox import Outbox
from tradewind.chassis.postgres import Database
from tradewind.services.order.clients import Addresses
from tradewind.services.order.domain.moving import PATIENCE, Patience
from tradewind.services.order.following import Following
from tradewind.services.order.measures import Measures


@dataclass(frozen=True, kw_only=True)
class Parts:
    """`patience` says how long each deadline is, `product_ttl_s` how long a product may be cached, `stream_ttl_s` how
    long a stream lasts at most."""

    clock: Clock
    database: Database
    outbox: Outbox
    cache: Cache
    addresses: Addresses
    measures: Measures
    following: Following
    patience: Patience = field(default_factory=lambda: PATIENCE)
    expiry_batch: int = 100
    product_ttl_s: float = 10.0
    stream_ttl_s: float = 600.0
