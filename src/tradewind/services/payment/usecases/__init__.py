"""What payment-service can do, on one screen.

Orders ask         begin_payments   abandon_orders
People ask         confirm_payment  refund_payment  refund_order
The provider says  hear_provider    record_notices
We ask it          pursue           record_charges  record_refunds
By itself          take_up_due      take_over       forget_notices
People look        show_payment     payments_of_order  own_payments
Finance looks      account_totals   entries  open_questions  standings
"""

from tradewind.services.payment.usecases.customers import confirm_payment, refund_order, refund_payment
from tradewind.services.payment.usecases.notices import forget_notices, hear_provider, record_notices
from tradewind.services.payment.usecases.orders import abandon_orders, begin_payments
from tradewind.services.payment.usecases.outcomes import record_charges, record_refunds
from tradewind.services.payment.usecases.pursuit import pursue
from tradewind.services.payment.usecases.reading import (
    account_totals,
    entries,
    open_questions,
    own_payments,
    payments_of_order,
    show_payment,
    standings,
)
from tradewind.services.payment.usecases.reconciliation import take_over, take_up_due

__all__ = [
    "abandon_orders",
    "account_totals",
    "begin_payments",
    "confirm_payment",
    "entries",
    "forget_notices",
    "hear_provider",
    "open_questions",
    "own_payments",
    "payments_of_order",
    "pursue",
    "record_charges",
    "record_notices",
    "record_refunds",
    "refund_order",
    "refund_payment",
    "show_payment",
    "standings",
    "take_over",
    "take_up_due",
]
