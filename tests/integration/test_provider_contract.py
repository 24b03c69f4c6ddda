"""What every payment provider does, whichever it is: one suite over the sandbox's process and the stand-in for Stripe."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec.structs import replace

from tests.cutting_proxy import Cut
from tests.integration.provider_sides import PROVIDERS, Side, new_work, open_side, refund_of
from tradewind.chassis.third_party import NotSent, OutcomeUnknown
from tradewind.contracts.money import Money
from tradewind.services.payment.domain.charge import (
    GIVE_UP_AFTER_S,
    Captured,
    Charge,
    ChargeStatus,
    Declined,
    Gone,
    judge,
)
from tradewind.services.payment.domain.work import ChargeWork
from tradewind.services.payment.providers import RequestRefused
from tradewind.services.payment.usecases.pursuit import find_out


@pytest_asyncio.fixture(params=PROVIDERS)
async def side(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Side]:
    async with open_side(request.param, tmp_path) as side:
        yield side


def later(work: ChargeWork, *, cancelled: bool = False) -> ChargeWork:
    """The same work, taken up again by reconciliation."""
    payment = replace(work.payment, order_cancelled=cancelled)
    return replace(work, payment=payment, fresh=False, age_s=GIVE_UP_AFTER_S + 1.0)


def knowing(work: ChargeWork, charge: Charge) -> ChargeWork:
    """The same work, once the charge is written down."""
    return replace(work, attempt=replace(work.attempt, charge_id=charge.id))


async def challenged(side: Side, *, approved: bool) -> tuple[ChargeWork, Charge]:
    """A charge whose challenge the customer has answered, as it is found after that and after a confirmation."""
    work = new_work("pm_card_authenticationRequired")
    asked = await side.provider.charge(work)
    assert asked.status is ChargeStatus.REQUIRES_ACTION
    work = later(knowing(work, asked))
    again = await side.provider.find_charge(work)
    assert again is not None
    assert (again.status, again.action_url) == (ChargeStatus.REQUIRES_ACTION, asked.action_url)
    await side.answer_challenge(asked, approved=approved)
    return work, await side.provider.confirm(asked.id)


async def test_a_charge_takes_what_was_asked_for_the_order(side: Side) -> None:
    work = new_work()
    charge = await side.provider.charge(work)
    assert charge.status is ChargeStatus.SUCCEEDED
    assert charge.amount == work.payment.amount
    assert charge.reference == work.payment.order_id
    assert (charge.authorized_minor, charge.captured_minor, charge.refunded_minor) == (1999, 1999, 0)
    assert await side.taken(work.payment.order_id) == [(1999, 0)]
    assert isinstance(judge(work.aim, charge), Captured)


async def test_the_same_attempt_charges_once(side: Side) -> None:
    work = new_work()
    first = await side.provider.charge(work)
    assert await side.provider.charge(replace(work, fresh=False)) == first
    assert await side.provider.find_charge(later(work)) == first
    assert await side.provider.find_charge(later(knowing(work, first))) == first
    assert await side.taken(work.payment.order_id) == [(1999, 0)]


@pytest.mark.parametrize(
    ("method", "code"),
    [
        ("pm_card_chargeDeclined", "card_declined"),
        ("pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds"),
    ],
)
async def test_a_decline_has_its_code_and_stays(side: Side, method: str, code: str) -> None:
    work = new_work(method)
    charge = await side.provider.charge(work)
    assert (charge.status, charge.code, charge.captured_minor) == (ChargeStatus.FAILED, code, 0)
    again = await side.provider.find_charge(later(work))
    assert again is not None
    assert (again.id, again.status, again.code) == (charge.id, ChargeStatus.FAILED, code)
    assert await side.taken(work.payment.order_id) == []


async def test_a_payment_method_nobody_knows_is_refused(side: Side) -> None:
    with pytest.raises(RequestRefused, match="payment_method_unknown"):
        await side.provider.charge(new_work("pm_nobody_knows"))


async def test_a_challenge_that_was_met_takes_the_money(side: Side) -> None:
    work, charge = await challenged(side, approved=True)
    assert (charge.status, charge.captured_minor) == (ChargeStatus.SUCCEEDED, 1999)
    assert await side.provider.confirm(charge.id) == charge
    assert await side.provider.find_charge(work) == charge
    assert await side.taken(work.payment.order_id) == [(1999, 0)]


async def test_a_challenge_that_was_failed_is_a_decline(side: Side) -> None:
    work, charge = await challenged(side, approved=False)
    assert (charge.status, charge.code) == (ChargeStatus.FAILED, "authentication_failed")
    found = await side.provider.find_charge(work)
    assert found is not None
    assert (found.status, found.code) == (ChargeStatus.FAILED, "authentication_failed")


async def test_a_challenge_can_be_let_go_of(side: Side) -> None:
    charge = await side.provider.charge(new_work("pm_card_authenticationRequired"))
    assert (await side.provider.void(charge.id)).status is ChargeStatus.CANCELLED
    assert (await side.provider.void(charge.id)).status is ChargeStatus.CANCELLED
    assert (await side.provider.confirm(charge.id)).status is ChargeStatus.CANCELLED


async def test_money_is_held_and_then_taken_once(side: Side) -> None:
    work = new_work(capture=False)
    held = await side.provider.charge(work)
    assert held.status is ChargeStatus.AUTHORIZED
    assert (held.authorized_minor, held.captured_minor) == (1999, 0)
    assert await side.taken(work.payment.order_id) == []
    taken = await side.provider.capture(held, work.attempt.id)
    assert (taken.status, taken.authorized_minor, taken.captured_minor) == (ChargeStatus.SUCCEEDED, 1999, 1999)
    assert await side.provider.capture(held, work.attempt.id) == taken
    assert (await side.provider.void(held.id)).status is ChargeStatus.SUCCEEDED
    assert await side.taken(work.payment.order_id) == [(1999, 0)]


async def test_money_that_is_held_can_be_let_go_of(side: Side) -> None:
    work = new_work(capture=False)
    held = await side.provider.charge(work)
    assert (await side.provider.void(held.id)).status is ChargeStatus.CANCELLED
    after = await side.provider.capture(held, work.attempt.id)
    assert (after.status, after.captured_minor) == (ChargeStatus.CANCELLED, 0)
    assert await side.taken(work.payment.order_id) == []


async def test_refunds_in_parts_and_no_more_than_there_is(side: Side) -> None:
    work = new_work()
    charge = await side.provider.charge(work)
    part = refund_of(work, charge, 500)
    assert await side.provider.find_refund(part) is None
    repaid = await side.provider.refund(part)
    assert (repaid.succeeded, repaid.failed, repaid.amount) == (True, False, Money(500, "EUR"))
    assert await side.provider.refund(part) == repaid
    assert await side.provider.find_refund(part) == repaid
    with pytest.raises(RequestRefused):
        await side.provider.refund(refund_of(work, charge, 1500))
    rest = await side.provider.refund(refund_of(work, charge, 1499))
    assert rest.id != repaid.id
    assert await side.taken(work.payment.order_id) == [(1999, 1999)]
    found = await side.provider.find_charge(later(knowing(work, charge)))
    assert found is not None
    assert (found.captured_minor, found.refunded_minor) == (1999, 1999)


@pytest.mark.parametrize("cut", [Cut.ANSWER, Cut.SILENCE])
async def test_an_answer_that_is_lost_is_found_and_nothing_is_charged_twice(side: Side, cut: Cut) -> None:
    work = new_work()
    side.proxy.cuts.append(cut)
    with pytest.raises(OutcomeUnknown):
        await side.provider.charge(work)
    assert await side.taken(work.payment.order_id) == [(1999, 0)]
    assert isinstance(await find_out(side.provider, later(work)), Captured)
    assert await side.taken(work.payment.order_id) == [(1999, 0)]


async def test_a_request_that_is_lost_is_made_again(side: Side) -> None:
    work = new_work()
    side.proxy.cuts.append(Cut.REQUEST)
    with pytest.raises(OutcomeUnknown):
        await side.provider.charge(work)
    assert await side.taken(work.payment.order_id) == []
    assert isinstance(await find_out(side.provider, later(work)), Captured)
    assert await side.taken(work.payment.order_id) == [(1999, 0)]


@pytest.mark.parametrize(("cut", "taken"), [(Cut.ANSWER, [(1999, 0)]), (Cut.REQUEST, [])])
async def test_for_an_order_cancelled_meanwhile_nothing_more_is_charged(
    side: Side, cut: Cut, taken: list[tuple[int, int]]
) -> None:
    work = new_work()
    side.proxy.cuts.append(cut)
    with pytest.raises(OutcomeUnknown):
        await side.provider.charge(work)
    finding = await find_out(side.provider, later(work, cancelled=True))
    assert isinstance(finding, Captured if taken else Gone)
    assert await side.taken(work.payment.order_id) == taken


@pytest.mark.parametrize("cut", [Cut.ANSWER, Cut.REQUEST])
async def test_a_capture_whose_answer_is_lost_is_found_or_made(side: Side, cut: Cut) -> None:
    work = new_work(capture=False)
    held = await side.provider.charge(work)
    side.proxy.cuts.append(cut)
    with pytest.raises(OutcomeUnknown):
        await side.provider.capture(held, work.attempt.id)
    found = await side.provider.find_charge(later(knowing(work, held)))
    assert found is not None
    assert found.status is (ChargeStatus.SUCCEEDED if cut is Cut.ANSWER else ChargeStatus.AUTHORIZED)
    assert (await side.provider.capture(held, work.attempt.id)).status is ChargeStatus.SUCCEEDED
    assert await side.taken(work.payment.order_id) == [(1999, 0)]


@pytest.mark.parametrize("cut", [Cut.ANSWER, Cut.REQUEST])
async def test_a_refund_whose_answer_is_lost_is_paid_once(side: Side, cut: Cut) -> None:
    work = new_work()
    charge = await side.provider.charge(work)
    back = refund_of(work, charge, 700)
    side.proxy.cuts.append(cut)
    with pytest.raises(OutcomeUnknown):
        await side.provider.refund(back)
    repaid = await side.provider.find_refund(back) or await side.provider.refund(back)
    assert repaid.succeeded
    assert await side.taken(work.payment.order_id) == [(1999, 700)]


async def test_a_charge_that_is_wrong_is_undone(side: Side) -> None:
    work = new_work()
    charge = await side.provider.charge(work)
    undone = await side.provider.undo(charge, work.attempt.id)
    assert (undone.captured_minor, undone.refunded_minor) == (1999, 1999)
    assert await side.provider.undo(charge, work.attempt.id) == undone
    held = await side.provider.charge(new_work(capture=False))
    assert (await side.provider.undo(held, work.attempt.id)).status is ChargeStatus.CANCELLED


async def test_what_is_held_for_us_is_what_was_taken(side: Side) -> None:
    assert await side.provider.holdings() == []
    euros, yen = new_work(), new_work(amount=Money(500, "JPY"))
    charge = await side.provider.charge(euros)
    await side.provider.charge(yen)
    await side.provider.charge(new_work("pm_card_chargeDeclined"))
    await side.provider.charge(new_work(capture=False))
    await side.provider.refund(refund_of(euros, charge, 99))
    held = {each.currency: (each.captured_minor, each.refunded_minor) for each in await side.provider.holdings()}
    assert held == {"EUR": (1999, 99), "JPY": (500, 0)}


async def test_charges_are_listed_with_what_became_of_them(side: Side) -> None:
    taken, held, back = new_work(), new_work(capture=False), new_work()
    for work in (taken, held):
        await side.provider.charge(work)
    await side.provider.refund(refund_of(back, await side.provider.charge(back), 99))
    now = datetime.now(UTC)
    listed = {
        each.attempt_id: (each.charge.status, each.charge.captured_minor, each.charge.refunded_minor)
        async for each in side.provider.list_charges(now - timedelta(hours=1))
    }
    assert listed == {
        taken.attempt.id: (ChargeStatus.SUCCEEDED, 1999, 0),
        held.attempt.id: (ChargeStatus.AUTHORIZED, 0, 0),
        back.attempt.id: (ChargeStatus.SUCCEEDED, 1999, 99),
    }
    assert [each async for each in side.provider.list_charges(now + timedelta(hours=1))] == []


async def test_a_provider_that_cannot_be_reached_has_done_nothing(side: Side) -> None:
    assert side.provider.answers
    await side.proxy.close()
    for _ in range(10):
        with pytest.raises(NotSent):
            await side.provider.charge(new_work())
    assert not side.provider.answers


async def test_a_provider_that_fails_is_left_alone(side: Side) -> None:
    side.proxy.cuts.extend([Cut.REQUEST] * 10)
    for _ in range(10):
        with pytest.raises(OutcomeUnknown):
            await side.provider.charge(new_work())
    with pytest.raises(NotSent, match="left alone"):
        await side.provider.charge(new_work())
    assert not side.provider.answers


async def test_a_decline_is_found_as_one_after_a_lost_answer(side: Side) -> None:
    work = new_work("pm_card_chargeDeclined")
    side.proxy.cuts.append(Cut.ANSWER)
    with pytest.raises(OutcomeUnknown):
        await side.provider.charge(work)
    finding = await find_out(side.provider, later(work))
    assert isinstance(finding, Declined)
    assert finding.code == "card_declined"
