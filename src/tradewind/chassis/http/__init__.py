"""The thin typed layer over Starlette: a handler's signature says what a request must hold and what comes back.

    api = Api("order", tag="Orders")

    @api.post("/v1/orders", access=SIGNED_IN, status=201, idempotent=True, raises=("out-of-stock",))
    async def place_order(call: Call[Parts], tx: Tx, body: PlaceOrder) -> Reply[OrderView]:
        \"\"\"Place an order.\"\"\"

The same types decode the request, refuse what does not fit, and write the OpenAPI document.
"""

from tradewind.chassis.http.api import OPTIONAL, PUBLIC, SIGNED_IN, Access, Api, Operation, roles
from tradewind.chassis.http.values import Call, Id, IfMatch, Moment, Page, PageQuery, Reply, etag

__all__ = [
    "OPTIONAL",
    "PUBLIC",
    "SIGNED_IN",
    "Access",
    "Api",
    "Call",
    "Id",
    "IfMatch",
    "Moment",
    "Operation",
    "Page",
    "PageQuery",
    "Reply",
    "etag",
    "roles",
]
