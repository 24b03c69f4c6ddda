"""The HTTP door: parse, call one use case, render. `finance` comes first: `reconciliation` is no payment's id."""

from tradewind.services.payment.api import finance, ledger, payments
from tradewind.services.payment.api.door import api

__all__ = ["api", "finance", "ledger", "payments"]
