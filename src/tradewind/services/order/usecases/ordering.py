"""What can be done with orders.

Each order moves the same way, whoever moves it: lock it, let the saga decide, then write the change, its goods, its
timeline and its event in one transaction. Orders are locked before stock, and stock last of all: a product that many
want is then held from that statement to the commit, and no longer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta

from tradewind.chassis import logs
from tradewind.chassis.errors import Conflict, FieldError, Forbidden, NotFound
from tradewind.chassis.events import Event
from tradewind.chassis.identity import Caller
from tradewind.chassis.ids import new_id
from tradewind.chassis.postgres import Tx
from tradewind.contracts.money import Money
from tradewind.contracts.order import OrderPlaced
from tradewind.services.order.domain import pricing, saga, signals
from tradewind.services.order.domain.order import Address, Order, Payment, Status, TimelineEntry
from tradewind.services.order.domain.pricing import Wanted
from tradewind.services.order.domain.signals import PaymentEvent, Signal
from tradewind.services.order.domain.stock import Movement
from tradewind.services.order.parts import Parts
from tradewind.services.order.store import orders as store
from tradewind.services.order.store import products
from tradewind.services.order.usecases.catalogue import cache_key

SEES_ALL = ("support", "finance")
EVERYBODY = "all"
_log = logs.get_logger("orders")


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
    serial, catalogue = await products.read_articles(tx, [want.sku for want in wanted])
    lines = pricing.priced(wanted, catalogue)
    total = pricing.total_of(lines)
    now = parts.clock.now()
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
        expires_at=now + timedelta(seconds=parts.pending_ttl_s),
    )
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
        TimelineEntry(order_id=order.id, at=now, event="placed", cause="customer", detail={}),
        parts.outbox.entry(event, key=order.id, version=order.event_version),
    )
    if short:
        raise _out_of_stock(wanted, short)
    parts.outbox.announce(tx)
    _forget_cached(parts, tx, [line.sku for line in lines])
    return order


async def cancel_order(parts: Parts, tx: Tx, order_id: str, caller: Caller) -> Order:
    """Cancel an order that has not been shipped; its goods become available, its money goes back.

    Raises:
        NotFound: `order-not-found`, also when it is somebody else's and the caller is not of the support.
        Conflict: `illegal-transition`.
    """
    order = await _lock_order(tx, order_id)
    if order.customer_id != caller.subject and not caller.has("support"):
        raise _no_such_order()
    return await _move(parts, tx, order, signals.cancel(by_customer=order.customer_id == caller.subject))


async def ship_order(parts: Parts, tx: Tx, order_id: str, *, carrier: str, tracking: str) -> Order:
    """Note that a confirmed order's goods left the house.

    Raises:
        NotFound: `order-not-found`.
        Conflict: `illegal-transition`.
    """
    return await _move(parts, tx, await _lock_order(tx, order_id), signals.ship(carrier, tracking))


async def deliver_order(parts: Parts, tx: Tx, order_id: str) -> Order:
    """Note that a shipped order's goods arrived.

    Raises:
        NotFound: `order-not-found`.
        Conflict: `illegal-transition`.
    """
    return await _move(parts, tx, await _lock_order(tx, order_id), signals.deliver())


async def hear_payments(parts: Parts, tx: Tx, events: Sequence[PaymentEvent]) -> None:
    """Let payments' news move their orders; three statements, however many they are.

    Raises:
        NotFound: `order-not-found`: the whole batch is undone, and the one event tried again alone.
        Invalid: `payment-mismatch`, likewise.
    """
    orders = await store.lock_orders(tx, {event.order_id for event in events})
    if missing := {event.order_id for event in events} - orders.keys():
        raise NotFound("order-not-found", f"There are payments of orders we do not have: {', '.join(sorted(missing))}.")
    await _advance(parts, tx, orders, [(event.order_id, signals.heard(event)) for event in events])


async def expire_orders(parts: Parts) -> int:
    """Cancel pending orders past their deadline, a bounded number a transaction; returns how many there were.

    Several instances may do this at the same time: each leaves alone what another one has locked.
    """
    expired = 0
    while True:
        async with parts.database.transaction() as tx:
            due = await store.lock_due_orders(tx, parts.clock.now(), parts.expiry_batch)
            await _advance(parts, tx, due, [(order_id, signals.expire()) for order_id in due])
        expired += len(due)
        if len(due) < parts.expiry_batch:
            return expired


async def get_order(parts: Parts, order_id: str, caller: Caller) -> Order:
    """One order, the caller's own or, for support and finance, anybody's.

    Raises:
        NotFound: `order-not-found`.
    """
    order = await store.find_order(parts.database, order_id)
    if order is None or (order.customer_id != caller.subject and not caller.has(*SEES_ALL)):
        raise _no_such_order()
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


async def list_timeline(parts: Parts, order_id: str, caller: Caller, *, after: int, limit: int) -> list[store.Told]:
    """Up to `limit` entries of an order's story behind the entry `after`.

    Raises:
        NotFound: `order-not-found`, as `get_order`.
    """
    await get_order(parts, order_id, caller)
    return await store.list_timeline(parts.database, order_id, after=after, limit=limit)


async def _lock_order(tx: Tx, order_id: str) -> Order:
    locked = await store.lock_orders(tx, [order_id])
    if order_id not in locked:
        raise _no_such_order()
    return locked[order_id]


async def _move(parts: Parts, tx: Tx, order: Order, signal: Signal) -> Order:
    moved = await _advance(parts, tx, {order.id: order}, [(order.id, signal)])
    return moved[order.id]


async def _advance(
    parts: Parts, tx: Tx, locked: Mapping[str, Order], happened: Iterable[tuple[str, Signal]]
) -> dict[str, Order]:
    """Let signals act on locked orders, one after the other, and write what comes of it; returns the orders after."""
    now = parts.clock.now()
    orders = dict(locked)
    changed: dict[str, Order] = {}
    movements: list[Movement] = []
    entries: list[TimelineEntry] = []
    events: list[tuple[Event, str, int]] = []
    for order_id, signal in happened:
        outcome = saga.advance(orders[order_id], signal, now)
        if outcome is None:
            _log.info("too late", order_id=order_id, status=orders[order_id].status, signal=signal.name)
            continue
        orders[order_id] = changed[order_id] = outcome.order
        movements += outcome.movements
        if outcome.entry is not None:
            entries.append(outcome.entry)
        if outcome.event is not None:
            events.append((outcome.event, order_id, outcome.order.event_version))
    if changed:
        await parts.outbox.add_many(tx, events)
        await store.save_orders(tx, list(changed.values()), movements, entries, now)
        _forget_cached(parts, tx, {move.sku for move in movements if move.kind != "sell"})
    return orders


def _forget_cached(parts: Parts, tx: Tx, skus: Collection[str]) -> None:
    """Products whose available stock `tx` changes."""
    if skus:
        keys = [cache_key(sku) for sku in skus]
        tx.after_commit(lambda: parts.cache.invalidate_soon(*keys))


def _no_such_order() -> NotFound:
    return NotFound("order-not-found", "There is no such order.")


def _out_of_stock(wanted: Iterable[Wanted], short: Mapping[str, int]) -> Conflict:
    errors = [
        FieldError(
            f"/lines/{want.line}", "out-of-stock", f"{short[want.sku]} of {want.sku} left, {want.quantity} wanted."
        )
        for want in wanted
        if want.sku in short
    ]
    return Conflict("out-of-stock", " ".join(error.detail for error in errors), errors=errors)
