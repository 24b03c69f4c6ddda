"""What the operations of this room are declared on."""

from __future__ import annotations

from tradewind.chassis.http import Api, roles

FINANCE = roles("finance")

api = Api(
    "payment",
    tag="Payments",
    description="Payments of orders and what went back of them; the ledger, and what the provider says, for finance.",
)
