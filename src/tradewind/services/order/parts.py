"""What the use cases of order-service work with; `app.py` puts it together."""

from __future__ import annotations

from dataclasses import dataclass

from tradewind.chassis.cache import Cache
from tradewind.chassis.clock import Clock
from tradewind.chassis.outbox import Outbox
from tradewind.chassis.postgres import Database
from tradewind.services.order.clients import Addresses


@dataclass(frozen=True, kw_only=True)
class Parts:
    """`pending_ttl_s` is how long an unpaid order holds its stock, `product_ttl_s` how long a product may be cached."""

    clock: Clock
    database: Database
    outbox: Outbox
    cache: Cache
    addresses: Addresses
    pending_ttl_s: float = 900.0
    expiry_batch: int = 100
    product_ttl_s: float = 10.0
