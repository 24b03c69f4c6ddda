"""What payment-service can do, on one screen.

Orders ask         begin_payments   abandon_orders
People ask         confirm_payment  payment_to_refund  refund_payment
The provider says  hear_provider    record_notices
We ask it          pursue           record_charges  record_refunds
By itself          take_up_due      take_over       forget_notices  seal_ledger  compare_charges
People look        show_payment     payments_of_order  own_payments
Finance looks      account_totals   account_statement  entries  ledger_seals  open_questions  standings  compared
"""

from tradewind.services.payment.usecases.comparison import compare_charges
from tradewind.services.payment.usecases.customers import confirm_payment, payment_to_refund, refund_payment
from tradewind.services.payment.usecases.notices import forget_notices, hear_provider, record_notices
from tradewind.services.payment.usecases.orders import abandon_orders, begin_payments
from tradewind.services.payment.usecases.outcomes import record_charges, record_refunds
from tradewind.services.payment.usecases.pursuit import pursue
from tradewind.services.payment.usecases.reading import (
    account_statement,
    account_totals,
    compared,
    entries,
    ledger_seals,
    open_questions,
    own_payments,
    payments_of_order,
    show_payment,
    standings,
)
from tradewind.services.payment.usecases.reconciliation import take_over, take_up_due
from tradewind.services.payment.usecases.sealing import seal_ledger

__all__ = [
    "abandon_orders",
    "account_statement",
    "account_totals",
    "begin_payments",
    "compare_charges",
    "compared",
    "confirm_payment",
    "entries",
    "forget_notices",
    "hear_provider",
    "ledger_seals",
    "open_questions",
    "own_payments",
    "payment_to_refund",
    "payments_of_order",
    "pursue",
    "record_charges",
    "record_notices",
    "record_refunds",
    "refund_payment",
    "seal_ledger",
    "show_payment",
    "standings",
    "take_over",
    "take_up_due",
]
