"""Orders over HTTP."""

from __future__ import annotations

from typing import Annotated

import msgspec

from tradewind.chassis.errors import FieldError, Invalid
from tradewind.chassis.http import SIGNED_IN, Call, Id, Page, PageQuery, Reply, etag, roles
from tradewind.chassis.postgres import Tx
from tradewind.services.order.api.bodies import (
    CustomerId,
    OrderView,
    PlaceOrder,
    Shipment,
    Timeline,
    deadline_view,
    entry_view,
    order_view,
)
from tradewind.services.order.api.door import api
from tradewind.services.order.domain.order import Address, Order, Status
from tradewind.services.order.domain.pricing import Wanted
from tradewind.services.order.parts import Parts
from tradewind.services.order.usecases import ordering as usecases

SUPPORT = roles("support")


class _Order(msgspec.Struct, array_like=True):
    serial: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _Entry(msgspec.Struct, array_like=True):
    id: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


async def shipping_address(call: Call[Parts], body: PlaceOrder) -> Address:
    """The address of a new order: the one in the body, or the one its customer keeps at user-service."""
    if body.shipping_address is not None and body.shipping_address_id is None:
        return msgspec.convert(body.shipping_address, Address, from_attributes=True)
    if body.shipping_address_id is not None and body.shipping_address is None:
        return await call.parts.addresses.get_address(body.shipping_address_id, token=call.caller.token)
    detail = "Give one of shipping_address and shipping_address_id."
    raise Invalid("invalid", detail, errors=[FieldError("/shipping_address", "required", detail)])


@api.post(
    "/v1/orders",
    access=SIGNED_IN,
    status=201,
    idempotent=True,
    prepare=shipping_address,
    raises=("out-of-stock", "unknown-sku", "unknown-address", "currency-mismatch", "total-too-large"),
)
async def place_order(call: Call[Parts], tx: Tx, body: PlaceOrder, prepared: Address) -> Reply[OrderView]:
    """Place an order.

    Its goods are reserved at once. It becomes `confirmed` when the money is captured, or `cancelled` when it is
    declined or has not come within 15 minutes.
    """
    order = await usecases.place_order(
        call.parts,
        tx,
        customer_id=call.caller.subject,
        wanted=[Wanted(line.sku, line.quantity, number) for number, line in enumerate(body.lines)],
        payment_method=body.payment_method,
        shipping_address=prepared,
    )
    return Reply(order_view(order), etag=etag(order.version), location=f"/v1/orders/{order.id}")


@api.get("/v1/orders", access=SIGNED_IN, raises=("role-required",))
async def list_orders(
    call: Call[Parts], page: PageQuery, customer_id: CustomerId | None = None, status: Status | None = None
) -> Page[OrderView]:
    """List orders, the newest first.

    One's own; support and finance may name another customer, or `all`.
    """
    position = page.after(_Order)
    found = await usecases.list_orders(
        call.parts,
        call.caller,
        customer_id=customer_id,
        status=status,
        before=position.serial if position else None,
        limit=page.limit + 1,
    )
    return page.page(found, order_view, lambda order: _Order(order.serial))


@api.get("/v1/orders/{id}", access=SIGNED_IN, raises=("order-not-found",))
async def get_order(call: Call[Parts], id: Id) -> Reply[OrderView]:
    """Show an order: one's own, or anybody's for support and finance."""
    return _reply(await usecases.get_order(call.parts, id, call.caller))


@api.get("/v1/orders/{id}/timeline", access=SIGNED_IN, raises=("order-not-found",))
async def get_timeline(call: Call[Parts], id: Id, page: PageQuery) -> Timeline:
    """Tell an order's story, from the beginning, and what it waits for next.

    `cause` is `customer`, `support`, `deadline`, or the type of the event that brought the news. Support and finance
    also see `by`, the person who gave a command or asked for a refund.
    """
    position = page.after(_Entry)
    order, found = await usecases.list_timeline(
        call.parts, id, call.caller, after=position.id if position else 0, limit=page.limit + 1
    )
    names = call.caller.has(*usecases.SEES_ALL)
    told = page.page(found, lambda entry: entry_view(entry, names_people=names), lambda entry: _Entry(entry.id))
    return Timeline(told.items, told.next_cursor, deadline_view(order))


@api.post(
    "/v1/orders/{id}/cancel",
    urgent=True,
    access=SIGNED_IN,
    idempotent=True,
    raises=("order-not-found", "illegal-transition"),
)
async def cancel_order(call: Call[Parts], tx: Tx, id: Id) -> Reply[OrderView]:
    """Cancel an order that was not shipped: its goods become available and its money goes back.

    One's own order, or anybody's for support.
    """
    return _reply(await usecases.cancel_order(call.parts, tx, id, call.caller))


@api.post(
    "/v1/orders/{id}/ship",
    urgent=True,
    access=SUPPORT,
    idempotent=True,
    raises=("order-not-found", "illegal-transition"),
)
async def ship_order(call: Call[Parts], tx: Tx, id: Id, body: Shipment) -> Reply[OrderView]:
    """Note that a confirmed order was shipped; from now on it cannot be cancelled."""
    return _reply(
        await usecases.ship_order(call.parts, tx, id, call.caller, carrier=body.carrier, tracking=body.tracking)
    )


@api.post(
    "/v1/orders/{id}/deliver",
    urgent=True,
    access=SUPPORT,
    idempotent=True,
    raises=("order-not-found", "illegal-transition"),
)
async def deliver_order(call: Call[Parts], tx: Tx, id: Id) -> Reply[OrderView]:
    """Note that a shipped order arrived."""
    return _reply(await usecases.deliver_order(call.parts, tx, id, call.caller))


def _reply(order: Order) -> Reply[OrderView]:
    return Reply(order_view(order), etag=etag(order.version))
