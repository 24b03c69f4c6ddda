"""Recording what was found out: payment, ledger and event in one transaction, for as many as were found out together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from tradewind.chassis import trace
from tradewind.chassis.events import Event
from tradewind.chassis.ids import new_id
from tradewind.chassis.logs import get_logger
from tradewind.chassis.postgres import Tx
from tradewind.services.payment.charger import LEASE_S
from tradewind.services.payment.domain.charge import Authorized, Charge, Unknown
from tradewind.services.payment.domain.payment import Payment
from tradewind.services.payment.domain.refund import ORDER_CANCELLED, Refund, settle_refund
from tradewind.services.payment.domain.settlement import Attempt, Change, settle
from tradewind.services.payment.domain.work import ChargeOutcome, ChargeWork, RefundOutcome, RefundWork
from tradewind.services.payment.parts import Parts
from tradewind.services.payment.store import changes, refunds
from tradewind.services.payment.store.refunds import NewRefund

_log = get_logger(__name__)


class Made(NamedTuple):
    """A change with the trace it belongs to, and the charge that a refund would be of, at the provider that has it."""

    change: Change
    traceparent: str | None
    charge_id: str | None
    provider: str


async def record_charges(parts: Parts, outcomes: Sequence[ChargeOutcome]) -> None:
    """Record what became of attempts. Raises Unavailable: `database-unavailable`."""
    latest = _by_attempt(outcomes)
    async with parts.database.transaction() as tx:
        made: list[Made] = []
        held: list[ChargeWork] = []
        for tried in await changes.lock_by_attempt(tx, list(latest)):
            outcome = latest[tried.attempt.id]
            change = settle(tried.payment, tried.attempt, outcome.finding, elapsed_s=outcome.elapsed_s, lease_s=LEASE_S)
            if change is None:
                continue
            charge_id = change.attempt.charge_id if change.attempt else None
            made.append(Made(change, tried.traceparent, charge_id, tried.attempt.provider))
            if isinstance(outcome.finding, Authorized) and change.attempt is not None and change.event is not None:
                held.append(_capture(change.payment, change.attempt, outcome.finding.charge, tried.traceparent))
        await save(parts, tx, made)
        tx.after_commit(lambda: parts.charger.take(held))
    for outcome in latest.values():
        parts.measures.charge(outcome.finding)
        if isinstance(outcome.finding, Unknown):
            _log.info("outcome unknown", payment_id=outcome.work.payment.id, reason=outcome.finding.reason)


async def record_refunds(parts: Parts, outcomes: Sequence[RefundOutcome]) -> None:
    """Record what became of refunds. Raises Unavailable: `database-unavailable`."""
    left = {outcome.work.refund.id: outcome for outcome in outcomes}
    async with parts.database.transaction() as tx:
        while left:
            await _record_some(parts, tx, left)
    for outcome in outcomes:
        parts.measures.refund(outcome.finding)
        if isinstance(outcome.finding, Unknown):
            _log.info("refund outcome unknown", refund_id=outcome.work.refund.id, reason=outcome.finding.reason)


async def save(parts: Parts, tx: Tx, made: Sequence[Made]) -> None:
    """Save changes, tell of them, and begin the refunds that follow."""
    await changes.save(tx, [each.change for each in made], holder=parts.instance)
    await parts.outbox.add_many(tx, _told(made))
    following = [_following(each) for each in made if each.change.refund_minor]
    if following:
        await begin_refunds(parts, tx, following)
    for each in made:
        if found := each.change.discrepancy:
            _log.error("the provider disagrees", payment_id=found.payment_id, ours=found.ours, theirs=found.theirs)


async def begin_refunds(parts: Parts, tx: Tx, new: Sequence[NewRefund]) -> None:
    """Write refunds down, and pursue them once that is committed."""
    await refunds.insert(tx, new, holder=parts.instance, lease_s=LEASE_S)
    works = [
        RefundWork(
            refund=each.refund,
            charge_id=each.charge_id,
            amount=each.amount,
            provider=each.provider,
            traceparent=each.traceparent,
            fresh=True,
        )
        for each in new
    ]
    tx.after_commit(lambda: parts.charger.take(works))


async def _record_some(parts: Parts, tx: Tx, left: dict[str, RefundOutcome]) -> None:
    """Record one refund of each payment and take it out of `left`: the next one must see what this one changed."""
    made: list[Made] = []
    settled: list[Refund] = []
    seen: set[str] = set()
    for refunding in await refunds.lock(tx, list(left)):
        if refunding.payment.id in seen:
            continue
        seen.add(refunding.payment.id)
        outcome = left.pop(refunding.refund.id)
        change = settle_refund(refunding.payment, refunding.refund, outcome.finding, elapsed_s=outcome.elapsed_s)
        if change is not None:
            made.append(Made(change, refunding.traceparent, outcome.work.charge_id, outcome.work.provider))
            settled.append(change.refund)
    if not seen:
        left.clear()
    if settled:
        await refunds.save(tx, settled, holder=parts.instance)
        await save(parts, tx, made)


def _capture(payment: Payment, attempt: Attempt, charge: Charge, traceparent: str | None) -> ChargeWork:
    """What is to be done next about money that is held now."""
    return ChargeWork(payment=payment, attempt=attempt, traceparent=traceparent, charge=charge)


def _by_attempt(outcomes: Iterable[ChargeOutcome]) -> dict[str, ChargeOutcome]:
    """One outcome an attempt: of two, the one that knows something."""
    latest: dict[str, ChargeOutcome] = {}
    for outcome in outcomes:
        if outcome.work.attempt.id not in latest or not isinstance(outcome.finding, Unknown):
            latest[outcome.work.attempt.id] = outcome
    return latest


def _told(made: Iterable[Made]) -> Iterator[tuple[Event, str, int]]:
    """The events for the outbox, which encodes one before it asks for the next: so each is made in its own order's trace."""
    for each in made:
        if each.change.event is not None:
            with trace.use_traceparent(each.traceparent):
                yield each.change.event, each.change.payment.id, each.change.payment.version


def _following(made: Made) -> NewRefund:
    """The refund that a change of a cancelled order's payment asks for."""
    change, traceparent, charge_id, provider = made
    if charge_id is None:
        raise ValueError(f"payment {change.payment.id} has money to give back and no charge")
    refund = Refund(
        id=new_id(),
        payment_id=change.payment.id,
        amount_minor=change.refund_minor,
        reason=ORDER_CANCELLED,
        by_itself=True,
    )
    return NewRefund(
        refund=refund,
        amount=change.payment.money(change.refund_minor),
        charge_id=charge_id,
        provider=provider,
        traceparent=traceparent,
    )
