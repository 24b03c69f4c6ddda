"""order-service: the catalogue, the stock and the orders, each of which it leads through its saga.

Owns    product, stock, stock_movement, orders, order_timeline (database order_service)
Serves  GET /v1/products, POST /v1/products, GET /v1/products/{sku}, PATCH /v1/products/{sku},
        POST /v1/products/{sku}/stock, GET /v1/orders, POST /v1/orders, GET /v1/orders/{id},
        GET /v1/orders/{id}/timeline, GET /v1/orders/{id}/events, POST /v1/orders/{id}/cancel, POST /v1/orders/{id}/ship,
        POST /v1/orders/{id}/deliver
Emits   order.placed.v1, order.confirmed.v1, order.cancelled.v1, order.settlement_due.v1, order.shipped.v1,
        order.delivered.v1 (topic order)
Hears   payment.requires_action.v1, payment.authorized.v1, payment.captured.v1, payment.failed.v1, payment.cancelled.v1,
        payment.refunded.v1, payment.refund_failed.v1
Calls   user-service (an address that a customer keeps there)
"""
