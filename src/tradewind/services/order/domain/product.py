"""What is for sale."""

from __future__ import annotations

from datetime import datetime

import msgspec

from tradewind.contracts.money import Money


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """An article of the catalogue. `stock` is how many pieces can be ordered now; moving them leaves `version` as it is,
    so that a new price does not lose against every sale."""

    sku: str
    name: str
    description: str
    price: Money
    stock: int
    version: int
    created_at: datetime
    updated_at: datetime
