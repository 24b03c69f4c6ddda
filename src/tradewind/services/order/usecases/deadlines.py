"""What happens to orders that nothing else moves: the deadline of their status passes.

Deadlines are set and read by the database's clock. An instance whose own clock is wrong neither sets nor passes one
early.
"""

from __future__ import annotations

from tradewind.chassis import logs
from tradewind.services.order.domain import saga, signals
from tradewind.services.order.parts import Parts
from tradewind.services.order.store import orders as store
from tradewind.services.order.usecases.moving import advance

_log = logs.get_logger("deadlines")


async def pass_deadlines(parts: Parts) -> int:
    """Let every deadline that is due have its consequence, a bounded number a transaction; returns how many there were.

    Several instances may do this at the same time: each leaves alone what another one has locked.
    """
    passed = 0
    while True:
        async with parts.database.transaction() as tx:
            due = await store.lock_due_orders(tx, parts.expiry_batch)
            await advance(parts, tx, due, [(order_id, signals.overdue()) for order_id in due.orders])
        for order in due.orders.values():
            parts.measures.passed(order.status)
            deadline = saga.DEADLINES[order.status]
            if deadline.then != "cancelled":
                _log.warning("order stuck", order_id=order.id, deadline=deadline.name, waits_for=deadline.waits_for)
        passed += len(due.orders)
        if len(due.orders) < parts.expiry_batch:
            return passed


async def count_stuck(parts: Parts) -> None:
    """Show on /metrics how many orders are past the deadline of their status."""
    parts.measures.stuck(await store.count_stuck(parts.database))
