"""What people ask of payments: to go on after a challenge, to give money back."""

from __future__ import annotations

from tradewind.chassis import trace
from tradewind.chassis.errors import NotFound
from tradewind.chassis.identity import Caller
from tradewind.chassis.ids import new_id
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
    refund = Refund(id=new_id(), payment_id=payment_id, amount_minor=amount_minor, reason=reason)
    await changes.save(tx, [Change(payment=payment)], holder=parts.instance)
    charge_id, provider = await changes.captured_by(tx, payment_id)
    new = NewRefund(
        refund=refund,
        amount=payment.money(amount_minor),
        charge_id=charge_id,
        provider=provider,
        requested_by=caller.subject,
        traceparent=trace.current_traceparent(),
    )
    await begin_refunds(parts, tx, [new])
    return new


async def refund_order(
    parts: Parts, tx: Tx, caller: Caller, order_id: str, *, amount: Money | None, reason: str
) -> NewRefund:
    """`refund_payment` for the payment of an order. Raises also NotFound: `order-not-found`."""
    payment_id = await changes.find_payment_id(tx, order_id)
    if payment_id is None:
        raise NotFound("order-not-found", "There is no such order.")
    return await refund_payment(parts, tx, caller, payment_id, amount=amount, reason=reason)


async def _lock(tx: Tx, payment_id: str) -> Payment:
    payments = await changes.lock_payments(tx, [payment_id])
    if not payments:
        raise _not_found()
    return payments[0]


def _not_found() -> NotFound:
    return NotFound("payment-not-found", "There is no such payment.")
