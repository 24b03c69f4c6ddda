"""What people ask of payments: to go on after a challenge, to give money back."""

from __future__ import annotations

import asyncio
from datetime import datetime

from tradewind.chassis import trace
from tradewind.chassis.errors import NotFound, Unavailable
from tradewind.chassis.identity import Caller
from tradewind.chassis.ids import made_at_ms, new_id
from tradewind.chassis.postgres import Tx
from tradewind.contracts.money import Money
from tradewind.services.payment.charger import LEASE_S
from tradewind.services.payment.domain.payment import Payment, awaits_confirmation, reserve_refund
from tradewind.services.payment.domain.refund import Refund
from tradewind.services.payment.domain.settlement import Change, confirm
from tradewind.services.payment.domain.work import ChargeWork
from tradewind.services.payment.parts import Parts
from tradewind.services.payment.store import changes
from tradewind.services.payment.store.refunds import NewRefund
from tradewind.services.payment.usecases.outcomes import begin_refunds

HEAR_WITHIN_S = 1.0
"""How long a refund waits for word of its order, which takes milliseconds."""

POLL_S = 0.05
RETRY_AFTER_S = 1
ON_ITS_WAY_S = 900.0
"""An order whose money nobody has asked for by then has expired, and there is nothing to give back."""


async def confirm_payment(parts: Parts, tx: Tx, caller: Caller, payment_id: str) -> None:
    """Ask the provider, after this transaction, to go on; harmless when it has long gone on.

    Raises:
        NotFound: `payment-not-found`, also for somebody else's.
        Conflict: `illegal-transition`, the payment failed or was cancelled.
    """
    payment = await _lock(tx, payment_id)
    if payment.customer_id != caller.subject:
        raise _not_found()
    if not awaits_confirmation(payment):
        return
    [tried] = await changes.latest_attempts(tx, [payment])
    payment, attempt = confirm(payment, tried.attempt, due_in_s=LEASE_S)
    await changes.save(tx, [Change(payment=payment, attempt=attempt)], holder=parts.instance)
    work = ChargeWork(payment=payment, attempt=attempt, traceparent=trace.current_traceparent())
    tx.after_commit(lambda: parts.charger.take([work]))


async def refund_payment(
    parts: Parts, tx: Tx, caller: Caller, payment_id: str, *, amount: Money | None, reason: str
) -> NewRefund:
    """Set `amount`, or all that is left, aside for a refund, which the provider is asked for after this transaction.

    Raises:
        NotFound: `payment-not-found`.
        Invalid: 422, the amount is not positive or in another currency.
        Conflict: `refund-exceeds-captured`; refunds under way count.
    """
    payment, amount_minor = reserve_refund(await _lock(tx, payment_id), amount)
    refund = Refund(
        id=new_id(), payment_id=payment_id, amount_minor=amount_minor, reason=reason, requested_by=caller.subject
    )
    await changes.save(tx, [Change(payment=payment)], holder=parts.instance)
    charge_id, provider = await changes.captured_by(tx, payment_id)
    new = NewRefund(
        refund=refund,
        amount=payment.money(amount_minor),
        charge_id=charge_id,
        provider=provider,
        traceparent=trace.current_traceparent(),
    )
    await begin_refunds(parts, tx, [new])
    return new


async def payment_to_refund(parts: Parts, *, order_id: str | None = None, payment_id: str | None = None) -> str:
    """The id of the payment with this id, or of this order. A young one that we have not heard of is waited for a little.

    Raises:
        NotFound: `order-not-found`, `payment-not-found`.
        Unavailable: `payment-pending`, the order may have been placed, and word of it not have come yet.
    """
    deadline_s = parts.clock.monotonic_s() + HEAR_WITHIN_S
    while True:
        if found := await changes.find_payment_id(parts.database, order_id=order_id, payment_id=payment_id):
            return found
        if not _may_be_on_its_way(order_id or payment_id or "", parts.clock.now()):
            raise _not_found() if order_id is None else NotFound("order-not-found", "There is no such order.")
        if parts.clock.monotonic_s() > deadline_s:
            detail = "No payment has been heard of yet; if the order was placed just now it will be."
            raise Unavailable("payment-pending", detail, retry_after_s=RETRY_AFTER_S)
        await asyncio.sleep(POLL_S)


def _may_be_on_its_way(id_: str, now: datetime) -> bool:
    made_at = made_at_ms(id_)
    return made_at is not None and now.timestamp() - made_at / 1000 < ON_ITS_WAY_S


async def _lock(tx: Tx, payment_id: str) -> Payment:
    payments = await changes.lock_payments(tx, [payment_id])
    if not payments:
        raise _not_found()
    return payments[0]


def _not_found() -> NotFound:
    return NotFound("payment-not-found", "There is no such payment.")
