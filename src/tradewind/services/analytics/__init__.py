"""analytics-service: counts orders and money, from events alone.

Owns    order_fact, line_fact, money_fact (database analytics_service)
Serves  GET /v1/analytics/summary, GET /v1/analytics/revenue, GET /v1/analytics/products/top
Emits   nothing
Hears   order.placed.v1, order.confirmed.v1, order.cancelled.v1, payment.captured.v1, payment.refunded.v1
Calls   nobody
"""
