"""How orders are moved, whoever moves them: locked, decided by the saga, written in one transaction.

Change, goods, timeline and events go together. Orders are locked before stock, and stock last of all: a product that
many want is then held from that statement to the commit, and no longer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from tradewind.chassis import logs, trace
from tradewind.chassis.errors import NotFound
from tradewind.chassis.events import Event
from tradewind.chassis.postgres import Tx
from tradewind.services.order.domain.moving import advance as moved_by
from tradewind.services.order.domain.order import Order, TimelineEntry
from tradewind.services.order.domain.signals import Signal
from tradewind.services.order.domain.stock import Movement
from tradewind.services.order.parts import Parts
from tradewind.services.order.store import orders as store
from tradewind.services.order.store.orders import Locked
from tradewind.services.order.usecases.catalogue import cache_key

_log = logs.get_logger("orders")


async def lock_order(tx: Tx, order_id: str) -> Locked:
    """One order, locked. Raises NotFound: `order-not-found`."""
    locked = await store.lock_orders(tx, [order_id])
    if not locked.orders:
        raise no_such_order()
    return locked


async def move(parts: Parts, tx: Tx, locked: Locked, signal: Signal) -> Order:
    """Let `signal` act on the one order in `locked`; returns it afterwards."""
    (order_id,) = locked.orders
    return (await advance(parts, tx, locked, [(order_id, signal)]))[order_id]


async def advance(parts: Parts, tx: Tx, locked: Locked, happened: Iterable[tuple[str, Signal]]) -> dict[str, Order]:
    """Let signals act on locked orders, one after the other, and write what comes of it; returns the orders after."""
    now, orders = locked.now, dict(locked.orders)
    if now is None:
        return orders
    changed: dict[str, Order] = {}
    movements: list[Movement] = []
    entries: list[TimelineEntry] = []
    events: list[tuple[Event, str, int]] = []
    for order_id, signal in happened:
        outcome = moved_by(orders[order_id], signal, now, parts.patience)
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
        tx.after_commit(lambda: parts.following.wake(changed))
        forget_cached(parts, tx, {movement.sku for movement in movements if movement.kind != "sell"})
    return orders


def forget_cached(parts: Parts, tx: Tx, skus: Collection[str]) -> None:
    """Products whose available stock `tx` changes leave the cache once it is committed."""
    if skus:
        keys = [cache_key(sku) for sku in skus]
        tx.after_commit(lambda: parts.cache.invalidate_soon(*keys))


def no_such_order() -> NotFound:
    """There is none, or it is somebody else's."""
    return NotFound("order-not-found", "There is no such order.")


def trace_id_now() -> str | None:
    """The trace in which this runs."""
    context = trace.current()
    return context.trace_id if context else None
