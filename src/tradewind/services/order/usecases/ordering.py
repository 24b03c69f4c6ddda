"""What can be done with orders. `moving` is how each of them moves, `deadlines` what happens when nobody moves them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from tradewind.chassis import trace
from tradewind.chassis.errors import Conflict, FieldError, Forbidden, NotFound
from tradewind.chassis.events import Received
from tradewind.chassis.identity import Caller
from tradewind.chassis.ids import new_id
from tradewind.chassis.postgres import Tx
from tradewind.contracts.money import Money
from tradewind.contracts.order import OrderPlaced
from tradewind.services.order.domain import pricing, signals
from tradewind.services.order.domain.moving import with_deadline
from tradewind.services.order.domain.order import Address, Order, Payment, Status, TimelineEntry
from tradewind.services.order.domain.pricing import Wanted
from tradewind.services.order.domain.signals import PaymentEvent, Signal
from tradewind.services.order.domain.stock import Movement
from tradewind.services.order.parts import Parts
from tradewind.services.order.store import orders as store
from tradewind.services.order.store import products
from tradewind.services.order.usecases.moving import (
    advance,
    forget_cached,
    lock_order,
    move,
    no_such_order,
    trace_id_now,
)

SEES_ALL = ("support", "finance")
EVERYBODY = "all"


async def place_order(
    parts: Parts,
    tx: Tx,
    *,
    customer_id: str,
    wanted: Sequence[Wanted],
    payment_method: str,
    shipping_address: Address,
) -> Order:
    """Place an order: its goods are reserved, its payment is asked for, and it waits for the money.

    Two statements: the prices, then everything that changes.

    Raises:
        Invalid: `unknown-sku`, `currency-mismatch`, `total-too-large`.
        Conflict: `out-of-stock`, with every SKU that is short and how many of it are left.
    """
    wanted = pricing.merged(wanted)
    serial, now, catalogue = await products.read_articles(tx, [want.sku for want in wanted])
    lines = pricing.priced(wanted, catalogue)
    total = pricing.total_of(lines)
    order = Order(
        id=new_id(),
        serial=serial,
        customer_id=customer_id,
        status="pending",
        lines=lines,
        total=total,
        refunded=Money(0, total.currency),
        payment=Payment(id=new_id()),
        shipping_address=shipping_address,
        version=1,
        event_version=1,
        created_at=now,
        updated_at=now,
    )
    order = with_deadline(order, now, parts.patience)
    event = OrderPlaced(
        order_id=order.id,
        number=order.number,
        customer_id=order.customer_id,
        payment_id=order.payment.id,
        payment_method=payment_method,
        total=total,
        lines=lines,
    )
    short = await store.place_order(
        tx,
        order,
        [Movement(line.sku, "reserve", line.quantity, order.id) for line in lines],
        TimelineEntry(
            order_id=order.id,
            at=now,
            event="placed",
            cause="customer",
            detail={"amount": total},
            by=customer_id,
            trace_id=trace_id_now(),
        ),
        parts.outbox.entry(event, key=order.id, version=order.event_version),
    )
    if short:
        raise _out_of_stock(wanted, short)
    parts.outbox.announce(tx)
    forget_cached(parts, tx, [line.sku for line in lines])
    return order


async def cancel_order(parts: Parts, tx: Tx, order_id: str, caller: Caller) -> Order:
    """Cancel an order that has not been shipped; its goods become available, its money goes back.

    Raises:
        NotFound: `order-not-found`, also when it is somebody else's and the caller is not of the support.
        Conflict: `illegal-transition`.
    """
    locked = await lock_order(tx, order_id)
    customer_id = locked.orders[order_id].customer_id
    if customer_id != caller.subject and not caller.has("support"):
        raise no_such_order()
    return await move(
        parts, tx, locked, _traced(signals.cancel(by_customer=customer_id == caller.subject, by=caller.subject))
    )


async def ship_order(parts: Parts, tx: Tx, order_id: str, caller: Caller, *, carrier: str, tracking: str) -> Order:
    """Note that a confirmed order's goods left the house.

    Raises:
        NotFound: `order-not-found`.
        Conflict: `illegal-transition`.
    """
    signal = _traced(signals.ship(carrier, tracking, by=caller.subject))
    return await move(parts, tx, await lock_order(tx, order_id), signal)


async def deliver_order(parts: Parts, tx: Tx, order_id: str, caller: Caller) -> Order:
    """Note that a shipped order's goods arrived.

    Raises:
        NotFound: `order-not-found`.
        Conflict: `illegal-transition`.
    """
    return await move(parts, tx, await lock_order(tx, order_id), _traced(signals.deliver(by=caller.subject)))


async def hear_payments(parts: Parts, tx: Tx, events: Sequence[Received[PaymentEvent]]) -> None:
    """Let payments' news move their orders; three statements, however many they are.

    Raises:
        NotFound: `order-not-found`: the whole batch is undone, and the one event tried again alone.
        Invalid: `payment-mismatch`, likewise.
    """
    wanted = {event.data.order_id for event in events}
    locked = await store.lock_orders(tx, wanted)
    if missing := wanted - locked.orders.keys():
        raise NotFound("order-not-found", f"There are payments of orders we do not have: {', '.join(sorted(missing))}.")
    await advance(parts, tx, locked, [(event.data.order_id, _heard(event)) for event in events])


async def get_order(parts: Parts, order_id: str, caller: Caller) -> Order:
    """One order, the caller's own or, for support and finance, anybody's.

    Raises:
        NotFound: `order-not-found`.
    """
    order = await store.find_order(parts.database, order_id)
    if order is None or (order.customer_id != caller.subject and not caller.has(*SEES_ALL)):
        raise no_such_order()
    return order


async def list_orders(
    parts: Parts, caller: Caller, *, customer_id: str | None, status: Status | None, before: int | None, limit: int
) -> list[Order]:
    """Up to `limit` orders, the newest first: the caller's own, those of `customer_id`, or of `all`.

    Raises:
        Forbidden: `role-required`, for other people's orders.
    """
    wanted = customer_id or caller.subject
    if wanted != caller.subject and not caller.has(*SEES_ALL):
        raise Forbidden("role-required", f"Other people's orders need one of the roles: {', '.join(SEES_ALL)}.")
    return await store.list_orders(
        parts.database, customer_id=None if wanted == EVERYBODY else wanted, status=status, before=before, limit=limit
    )


async def list_timeline(
    parts: Parts, order_id: str, caller: Caller, *, after: int, limit: int
) -> tuple[Order, list[store.Told]]:
    """An order, and up to `limit` entries of its story behind the entry `after`.

    Raises:
        NotFound: `order-not-found`, as `get_order`.
    """
    order = await get_order(parts, order_id, caller)
    return order, await store.list_timeline(parts.database, order_id, after=after, limit=limit)


def _heard(event: Received[PaymentEvent]) -> Signal:
    context = trace.parse_traceparent(event.traceparent)
    return msgspec.structs.replace(
        signals.heard(event.data), event_id=event.id, trace_id=context.trace_id if context else None
    )


def _traced(signal: Signal) -> Signal:
    return msgspec.structs.replace(signal, trace_id=trace_id_now())


def _out_of_stock(wanted: Iterable[Wanted], short: Mapping[str, int]) -> Conflict:
    errors = [
        FieldError(
            f"/lines/{want.line}", "out-of-stock", f"{short[want.sku]} of {want.sku} left, {want.quantity} wanted."
        )
        for want in wanted
        if want.sku in short
    ]
    return Conflict("out-of-stock", " ".join(error.detail for error in errors), errors=errors)
