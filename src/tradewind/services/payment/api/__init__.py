"""The HTTP door: parse, call one use case, render. `finance` comes first: `reconciliation` is no payment's id."""

from tradewind.services.payment.api import finance, payments
from tradewind.services.payment.api.door import api

__all__ = ["api", "finance", "payments"]
