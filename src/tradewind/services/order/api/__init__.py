"""The HTTP door of order-service: `catalogue` and `orders` declare the operations, `bodies` what goes in and out."""

from tradewind.services.order.api import catalogue, orders, stream
from tradewind.services.order.api.door import api

__all__ = ["api", "catalogue", "orders", "stream"]
