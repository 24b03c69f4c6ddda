"""What orders ask of payments: to begin, and to let go."""

from __future__ import annotations

from collections.abc import Sequence

from tradewind.chassis.events import Received
from tradewind.chassis.ids import new_id
from tradewind.chassis.postgres import Tx
from tradewind.contracts.order import OrderCancelled, OrderPlaced, OrderSettlementDue
from tradewind.contracts.payment import PaymentCancelled
from tradewind.services.payment.charger import LEASE_S
from tradewind.services.payment.domain.payment import Payment, Status
from tradewind.services.payment.domain.settlement import Attempt, abandon_order
from tradewind.services.payment.domain.work import ChargeWork
from tradewind.services.payment.parts import Parts
from tradewind.services.payment.store import changes, intents
from tradewind.services.payment.store.intents import Intent
from tradewind.services.payment.usecases.outcomes import Made, save


async def begin_payments(parts: Parts, tx: Tx, placed: Sequence[Received[OrderPlaced]]) -> None:
    """Record what orders want paid, then, once that is committed, ask the provider."""
    wanted = [
        Intent(
            payment_id=event.data.payment_id,
            attempt_id=new_id(),
            order_id=event.data.order_id,
            customer_id=event.data.customer_id,
            amount=event.data.total,
            payment_method=event.data.payment_method,
            traceparent=event.traceparent,
        )
        for event in placed
    ]
    begun = await intents.insert_intents(
        tx,
        wanted,
        provider=parts.provider.name,
        capture=parts.capture_at_once,
        holder=parts.instance,
        lease_s=LEASE_S,
    )
    works = [_work(parts, intent) for intent in begun]
    tx.after_commit(lambda: parts.charger.take(works))


async def abandon_orders(
    parts: Parts, tx: Tx, cancelled: Sequence[Received[OrderCancelled | OrderSettlementDue]]
) -> None:
    """Let go of the payments of cancelled orders, or give back what was taken: now, or when it turns out to have been."""
    orders = {event.data.payment_id: event.data for event in cancelled}
    payments = await changes.lock_payments(tx, list(orders))
    known = {payment.id for payment in payments}
    for payment_id in orders.keys() - known:
        await _cancel_unheard_of(parts, tx, orders[payment_id])
    made: list[Made] = []
    let_go: list[ChargeWork] = []
    for tried in await changes.latest_attempts(tx, [each for each in payments if not each.order_cancelled]):
        change = abandon_order(tried.payment, tried.attempt, due_in_s=LEASE_S)
        made.append(Made(change, tried.traceparent, tried.attempt.charge_id, tried.attempt.provider))
        if change.attempt is not None:
            let_go.append(ChargeWork(payment=change.payment, attempt=change.attempt, traceparent=tried.traceparent))
    await save(parts, tx, made)
    tx.after_commit(lambda: parts.charger.take(let_go))


async def _cancel_unheard_of(parts: Parts, tx: Tx, order: OrderCancelled | OrderSettlementDue) -> None:
    """Its `order.placed` is a dead letter. Should somebody replay it, this is in its way."""
    payment = Payment(
        id=order.payment_id,
        order_id=order.order_id,
        customer_id=order.customer_id,
        amount=order.total,
        status=Status.CANCELLED,
        order_cancelled=True,
        version=1,
    )
    if await intents.insert_cancelled(tx, payment):
        event = PaymentCancelled(
            payment_id=payment.id, order_id=payment.order_id, customer_id=payment.customer_id, amount=payment.amount
        )
        await parts.outbox.add(tx, event, key=payment.id, version=payment.version)


def _work(parts: Parts, intent: Intent) -> ChargeWork:
    payment = Payment(
        id=intent.payment_id,
        order_id=intent.order_id,
        customer_id=intent.customer_id,
        amount=intent.amount,
        payment_method=intent.payment_method,
    )
    attempt = Attempt(
        id=intent.attempt_id,
        payment_id=intent.payment_id,
        provider=parts.provider.name,
        capture=parts.capture_at_once,
    )
    return ChargeWork(payment=payment, attempt=attempt, traceparent=intent.traceparent, fresh=True)
