"""payment-service: the money of orders, and the books.

Owns    payment, attempt, refund, ledger_account, ledger_transaction, ledger_seal, webhook_event, discrepancy, comparison
        (database payment_service)
Serves  GET /v1/payments, GET /v1/payments/{id}, POST /v1/payments/{id}/confirm, POST /v1/payments/{id}/refunds,
        POST /v1/orders/{id}/refunds, POST /v1/payments/webhooks/{provider}, GET /v1/payments/reconciliation,
        GET /v1/ledger/accounts, GET /v1/ledger/accounts/{code}/statement, GET /v1/ledger/entries,
        GET /v1/ledger/trial-balance, GET /v1/ledger/seals
Emits   payment.requires_action.v1, payment.authorized.v1, payment.captured.v1, payment.failed.v1, payment.cancelled.v1,
        payment.refunded.v1, payment.refund_failed.v1 (topic payment)
Hears   order.placed.v1, order.cancelled.v1, order.settlement_due.v1
Calls   the payment provider, and no other service

A payment is written down before the provider hears of it, and what the provider says after it was said; between the two it
may have happened or not. Then nothing is guessed: the payment stays `processing`, and the provider is asked.
"""
