"""analytics-service counts orders and money, from events alone.

Owns:   order_fact, line_fact, money_fact
Serves: GET /v1/analytics/summary, GET /v1/analytics/revenue, GET /v1/analytics/products/top
Emits:  nothing
Hears:  order, payment
Calls:  nobody
"""
