"""Asking the provider: the remote half of every payment, never inside a transaction."""

from __future__ import annotations

from tradewind.chassis import trace
from tradewind.chassis.errors import Unavailable
from tradewind.chassis.logs import get_logger
from tradewind.chassis.third_party import NotSent, OutcomeUnknown
from tradewind.services.payment.charger import Work
from tradewind.services.payment.domain.charge import Charge, Declined, Finding, Step, Unknown, Wrong, judge
from tradewind.services.payment.domain.refund import RefundFinding, Refused, judge_repayment
from tradewind.services.payment.domain.work import ChargeOutcome, ChargeWork, RefundOutcome, RefundWork
from tradewind.services.payment.parts import Parts
from tradewind.services.payment.providers import Provider, RequestRefused

MAX_STEPS = 4
_log = get_logger(__name__)


async def pursue(parts: Parts, work: Work) -> None:
    """Find out, or bring about, what becomes of `work`, and record it. Never raises: what is not recorded falls due again."""
    if _provider(work) != parts.provider.name:
        # It was begun at another provider, and only that one knows what became of it.
        _log.error("begun at a provider that is not configured", work=_name(work), provider=_provider(work))
        return
    try:
        with trace.use_traceparent(work.traceparent):
            if isinstance(work, ChargeWork):
                await parts.charge_outcomes.submit(await _pursue_charge(parts, work))
            else:
                await parts.refund_outcomes.submit(await _pursue_refund(parts, work))
    except Unavailable as exc:
        _log.warning("an outcome waits to be recorded", code=exc.code, detail=exc.detail)
    except Exception as exc:
        _log.error("an outcome cannot be recorded", work=_name(work), exc_info=exc)


async def _pursue_charge(parts: Parts, work: ChargeWork) -> ChargeOutcome:
    started_s = parts.clock.monotonic_s()
    finding = await find_out(parts.provider, work)
    return ChargeOutcome(work=work, finding=finding, elapsed_s=parts.clock.monotonic_s() - started_s)


async def find_out(provider: Provider, work: ChargeWork) -> Finding:
    try:
        # Only what nobody has asked for can be asked for right away; else the first question is what there is already.
        if work.charge is not None:
            charge: Charge | None = work.charge
        elif work.fresh and work.attempt.step is Step.CHARGE:
            charge = await provider.charge(work)
        else:
            charge = await provider.find_charge(work)
        doubted = False
        for _ in range(MAX_STEPS):
            verdict = judge(work.aim, charge)
            if isinstance(verdict, Wrong) and not verdict.undone and not doubted:
                # One answer may lie, or be somebody else's. What stands in the books is undone, and nothing less.
                doubted = True
                charge = await provider.find_charge(work)
                continue
            if not isinstance(verdict, Step):
                return verdict
            charge = await _take(provider, verdict, work, charge)
    except RequestRefused as exc:
        return Declined(exc.code)
    except (NotSent, OutcomeUnknown) as exc:
        return Unknown(exc.detail)
    return Unknown("the provider does not get any further")


async def _take(provider: Provider, step: Step, work: ChargeWork, charge: Charge | None) -> Charge:
    if charge is None:
        return await provider.charge(work)
    match step:
        case Step.CHARGE:
            return await provider.charge(work)
        case Step.CONFIRM:
            return await provider.confirm(charge.id)
        case Step.CAPTURE:
            return await provider.capture(charge, work.attempt.id)
        case Step.VOID:
            return await provider.void(charge.id)
        case Step.UNDO:
            return await provider.undo(charge, work.attempt.id)


async def _pursue_refund(parts: Parts, work: RefundWork) -> RefundOutcome:
    started_s = parts.clock.monotonic_s()
    finding = await _give_back(parts.provider, work)
    return RefundOutcome(work=work, finding=finding, elapsed_s=parts.clock.monotonic_s() - started_s)


async def _give_back(provider: Provider, work: RefundWork) -> RefundFinding:
    try:
        repayment = None if work.fresh else await provider.find_refund(work)
        if repayment is None:
            repayment = await provider.refund(work)
        if repayment.amount != work.amount:
            # The same second look as for a charge.
            repayment = await provider.find_refund(work) or repayment
    except RequestRefused as exc:
        return Refused(exc.code)
    except (NotSent, OutcomeUnknown) as exc:
        return Unknown(exc.detail)
    return judge_repayment(repayment)


def _provider(work: Work) -> str:
    return work.attempt.provider if isinstance(work, ChargeWork) else work.provider


def _name(work: Work) -> str:
    return work.attempt.id if isinstance(work, ChargeWork) else work.refund.id
