"""What the operations of this room are declared on."""

from __future__ import annotations

from tradewind.chassis.http import Api

api = Api(
    "order",
    tag="Orders",
    description="The catalogue with its stock, and orders from placing to delivery. Prices come from the catalogue.",
)
