"""The `stripe` adapter where it can go wrong: keys that replay, answers that lie, a day that passes. Against the stand-in."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace

from tests import stripe_stand_in
from tests.cutting_proxy import Cut
from tests.integration.provider_sides import StripeSide, new_work, open_stripe_side, refund_of
from tests.integration.test_provider_contract import knowing, later
from tests.stripe_stand_in.server import Fault
from tradewind.chassis.errors import Unavailable
from tradewind.chassis.third_party import NotSent, OutcomeUnknown
from tradewind.contracts.money import Money
from tradewind.services.payment.domain.charge import Captured, Declined, Gone, Step, Unknown, Wrong
from tradewind.services.payment.domain.refund import Refused, judge_repayment
from tradewind.services.payment.domain.work import ChargeWork
from tradewind.services.payment.providers import RequestRefused, stripe
from tradewind.services.payment.providers.stripe import KEY_LIFE_S, StripeProvider
from tradewind.services.payment.usecases.pursuit import find_out

NEXT_DAY_S = KEY_LIFE_S + 1.0


@pytest_asyncio.fixture
async def side() -> AsyncIterator[StripeSide]:
    async with open_stripe_side() as side:
        yield side


async def attempted(side: StripeSide, work: ChargeWork, fault: Fault | None = None) -> None:
    """The first call of an attempt, whose outcome stays unknown."""
    side.stand_in.faults.append(fault)
    with pytest.raises(OutcomeUnknown):
        await side.provider.charge(work)


def statuses(side: StripeSide) -> list[str]:
    return [intent["status"] for intent in side.stand_in.books.intents.values()]


# keys


async def test_nothing_is_tried_again_by_itself(side: StripeSide) -> None:
    await attempted(side, new_work(), Fault.LOST)
    await attempted(side, new_work(), Fault.FAILED)
    assert len(side.stand_in.posts()) == 2


async def test_what_is_under_way_under_the_key_is_not_started_twice(side: StripeSide) -> None:
    work = new_work()
    first = asyncio.create_task(side.provider.charge(work))
    side.stand_in.faults.append(Fault.HELD)
    while not side.stand_in.requests:
        await asyncio.sleep(0.01)
    with pytest.raises(OutcomeUnknown):
        await side.provider.charge(replace(work, fresh=False))
    side.stand_in.release()
    with contextlib.suppress(OutcomeUnknown):
        await first
    assert isinstance(await find_out(side.provider, later(work)), Captured)
    assert await side.taken(work.payment.order_id) == [(1999, 0)]


async def test_a_kept_500_of_a_charge_that_was_made_is_settled_by_metadata(side: StripeSide) -> None:
    side.stand_in.books.search_lags = True
    work = new_work()
    await attempted(side, work, Fault.DONE_AND_FAILED)
    # The key says 500 for a day, and the index is behind: nothing is known, and nothing is charged again.
    assert isinstance(await find_out(side.provider, later(work)), Unknown)
    side.stand_in.books.searchable |= set(side.stand_in.books.intents)
    assert isinstance(await find_out(side.provider, later(work)), Captured)
    assert await side.taken(work.payment.order_id) == [(1999, 0)]


@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_kept_500_of_a_charge_that_was_not_made_ends_when_the_key_is_forgotten(
    side: StripeSide, cancelled: bool
) -> None:
    work = new_work()
    await attempted(side, work, Fault.FAILED)
    assert isinstance(await find_out(side.provider, later(work, cancelled=cancelled)), Unknown)
    side.stand_in.forget_keys()
    finding = await find_out(side.provider, replace(later(work, cancelled=cancelled), age_s=NEXT_DAY_S))
    assert finding == Gone(None) if cancelled else finding == Declined("attempt_expired")
    assert await side.taken(work.payment.order_id) == []


async def test_after_a_day_a_charge_is_looked_for_and_not_made(side: StripeSide) -> None:
    work = new_work()
    await attempted(side, work, Fault.DONE_AND_CUT)
    side.stand_in.forget_keys()
    old = replace(later(work), age_s=NEXT_DAY_S)
    assert isinstance(await find_out(side.provider, old), Captured)
    with pytest.raises(RequestRefused, match="attempt_expired"):
        await side.provider.charge(old)
    assert len(side.stand_in.posts()) == 1


@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_key_used_with_other_parameters_charges_nothing_again(side: StripeSide, cancelled: bool) -> None:
    """The shop's page has moved between the first request and the next."""
    assert isinstance(side.provider, StripeProvider)
    side.stand_in.books.search_lags = True
    work = new_work()
    await attempted(side, work, Fault.DONE_AND_CUT)
    side.provider._return_url = "https://elsewhere.example.test/"
    assert isinstance(await find_out(side.provider, later(work, cancelled=cancelled)), Unknown)
    side.stand_in.books.searchable |= set(side.stand_in.books.intents)
    assert isinstance(await find_out(side.provider, later(work, cancelled=cancelled)), Captured)
    assert await side.taken(work.payment.order_id) == [(1999, 0)]


async def test_a_replayed_answer_is_old_news(side: StripeSide) -> None:
    work = new_work("pm_card_authenticationRequired")
    await attempted(side, work, Fault.DONE_AND_CUT)
    (intent_id,) = side.stand_in.books.intents
    side.stand_in.books.authenticate(intent_id, approved=True)
    # The key still answers `requires_action`.
    assert isinstance(await find_out(side.provider, later(work)), Captured)


# cancelled orders


async def test_the_key_of_a_cancelled_order_is_used_up_so_that_a_late_request_charges_nothing(side: StripeSide) -> None:
    work = new_work()
    await attempted(side, work, Fault.LOST)
    finding = await find_out(side.provider, later(work, cancelled=True))
    assert isinstance(finding, Gone)
    assert finding.charge is not None
    assert statuses(side) == ["canceled"]
    # The first request was only late.
    with pytest.raises(OutcomeUnknown):
        await side.provider.charge(work)
    assert isinstance(await find_out(side.provider, later(work, cancelled=True)), Gone)
    assert await side.taken(work.payment.order_id) == []
    assert statuses(side) == ["canceled"]


async def test_a_charge_under_way_while_its_order_is_cancelled_is_found(side: StripeSide) -> None:
    work = new_work()
    first = asyncio.create_task(side.provider.charge(work))
    side.stand_in.faults.append(Fault.HELD)
    while not side.stand_in.requests:
        await asyncio.sleep(0.01)
    assert isinstance(await find_out(side.provider, later(work, cancelled=True)), Unknown)
    side.stand_in.release()
    with contextlib.suppress(OutcomeUnknown):
        await first
    assert isinstance(await find_out(side.provider, later(work, cancelled=True)), Captured)
    assert await side.taken(work.payment.order_id) == [(1999, 0)]


async def test_money_held_for_a_cancelled_order_is_let_go_of(side: StripeSide) -> None:
    work = new_work(capture=False)
    await attempted(side, work, Fault.DONE_AND_CUT)
    assert isinstance(await find_out(side.provider, later(work, cancelled=True)), Gone)
    assert statuses(side) == ["canceled"]


# half-made and declined


async def test_one_that_was_made_and_not_confirmed_is_confirmed(side: StripeSide) -> None:
    work = new_work()
    made = side.stand_in.books.create_intent(
        {
            "amount": 1999,
            "currency": "eur",
            "payment_method": "pm_card_visa",
            "payment_method_types": ["card"],
            "metadata": {"attempt_id": work.attempt.id, "order_id": work.payment.order_id},
        }
    )
    known = replace(work, attempt=replace(work.attempt, charge_id=made["id"]), fresh=False)
    assert isinstance(await find_out(side.provider, known), Unknown)
    assert isinstance(await find_out(side.provider, later(known)), Captured)
    assert await side.taken(work.payment.order_id) == [(1999, 0)]


async def test_nobody_pays_later_for_a_failed_challenge(side: StripeSide) -> None:
    work = new_work("pm_card_authenticationRequired")
    asked = await side.provider.charge(work)
    side.stand_in.books.authenticate(asked.id, approved=False)
    finding = await find_out(side.provider, later(knowing(work, asked)))
    assert isinstance(finding, Declined)
    assert finding.code == "authentication_failed"
    assert statuses(side) == ["canceled"]
    # And the answer is the same once it is cancelled.
    again = await find_out(side.provider, later(knowing(work, asked)))
    assert isinstance(again, Declined)
    assert again.code == "authentication_failed"


@pytest.mark.parametrize(
    ("method", "code"),
    [
        ("pm_card_chargeDeclinedLostCard", "card_declined"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
        ("pm_card_chargeDeclinedProcessingError", "processing_error"),
    ],
)
async def test_decline_codes_are_fit_for_the_customer(side: StripeSide, method: str, code: str) -> None:
    assert (await side.provider.charge(new_work(method))).code == code


# answers that lie


@pytest.mark.parametrize(
    "lie",
    [
        {"amount": 19990, "amount_received": 19990},
        {"amount_received": 1},
        {"currency": "usd"},
        {"metadata": {"order_id": "somebody-else"}},
    ],
    ids=["amount", "captured", "currency", "order"],
)
async def test_what_differs_from_what_we_asked_for_is_seen_and_undone(side: StripeSide, lie: dict[str, Any]) -> None:
    def distort(thing: dict[str, Any]) -> None:
        if thing["object"] == "payment_intent":
            thing |= lie
            charge = side.stand_in.books.charges[thing["latest_charge"]]
            charge |= {"amount_captured": thing["amount_received"], "currency": thing["currency"]}

    side.stand_in.books.distort = distort
    work = new_work()
    finding = await find_out(side.provider, work)
    assert isinstance(finding, Wrong)
    assert not finding.undone
    undoing = later(knowing(work, finding.charge))
    undoing = replace(undoing, attempt=replace(undoing.attempt, step=Step.UNDO))
    undone = await find_out(side.provider, undoing)
    assert isinstance(undone, Wrong)
    assert undone.undone
    (charge,) = side.stand_in.books.charges.values()
    assert charge["amount_refunded"] == charge["amount_captured"]


async def test_what_was_undone_is_undone_again_when_that_failed(side: StripeSide) -> None:
    work = new_work()
    charge = await side.provider.charge(work)
    assert (await side.provider.undo(charge, work.attempt.id)).refunded_minor == 1999
    (refund_id,) = side.stand_in.books.refunds
    side.stand_in.books.end_refund(refund_id, "failed")
    assert (await side.provider.undo(charge, work.attempt.id)).refunded_minor == 1999
    assert len(side.stand_in.books.refunds) == 2


async def test_a_charge_that_vanished_is_none(side: StripeSide) -> None:
    work = new_work()
    charge = await side.provider.charge(work)
    del side.stand_in.books.intents[charge.id]
    assert await side.provider.find_charge(later(knowing(work, charge))) is None
    with pytest.raises(OutcomeUnknown):
        await side.provider.confirm(charge.id)


# refusals


async def test_slower_please_is_not_an_outcome(side: StripeSide) -> None:
    side.stand_in.faults.append(Fault.LIMITED)
    with pytest.raises(NotSent):
        await side.provider.charge(new_work())
    assert statuses(side) == []


async def test_a_wrong_key_is_no_decline_and_is_told(side: StripeSide) -> None:
    assert isinstance(side.provider, StripeProvider)
    side.stand_in.faults.append(Fault.LOCKED_OUT)
    with pytest.raises(NotSent, match="API key"):
        await side.provider.charge(new_work())
    assert side.provider.key_refused
    await side.provider.charge(new_work())
    assert not side.provider.key_refused


async def test_an_outage_says_nothing(side: StripeSide) -> None:
    work = new_work()
    side.stand_in.away = True
    with pytest.raises(OutcomeUnknown):
        await side.provider.charge(work)
    side.stand_in.away = False
    assert isinstance(await find_out(side.provider, later(work)), Captured)


async def test_amounts_that_stripe_cannot_take_are_refused_unasked(side: StripeSide) -> None:
    with pytest.raises(RequestRefused, match="amount_not_expressible"):
        await side.provider.charge(new_work(amount=Money(5124, "KWD")))
    with pytest.raises(RequestRefused, match="currency_unsupported"):
        await side.provider.charge(new_work(amount=Money(500, "UGX")))
    assert side.stand_in.requests == []


async def test_odd_currencies_come_back_as_they_went(side: StripeSide) -> None:
    for money, amount in [(Money(5, "ISK"), 500), (Money(500, "MGA"), 5), (Money(5120, "KWD"), 5120)]:
        charge = await side.provider.charge(new_work(amount=money))
        assert (charge.amount, charge.captured_minor) == (money, money.amount_minor)
        assert side.stand_in.posts()[-1]["amount"] == amount


# refunds and lists


async def test_a_refund_under_way_is_asked_for_again(side: StripeSide) -> None:
    work = new_work("pm_card_pendingRefund")
    charge = await side.provider.charge(work)
    back = refund_of(work, charge, 500)
    pending = await side.provider.refund(back)
    assert isinstance(judge_repayment(pending), Unknown)
    side.stand_in.books.end_refund(pending.id, "failed")
    failed = await side.provider.find_refund(back)
    assert failed is not None
    assert judge_repayment(failed) == Refused("lost_or_stolen_card")


async def test_another_round_of_a_refund_is_another_refund(side: StripeSide) -> None:
    work = new_work("pm_card_pendingRefund")
    charge = await side.provider.charge(work)
    back = refund_of(work, charge, 500)
    side.stand_in.books.end_refund((await side.provider.refund(back)).id, "failed")
    again = replace(back, refund=replace(back.refund, round=1))
    assert await side.provider.find_refund(again) is None
    assert not (await side.provider.refund(again)).failed


async def test_lists_are_read_page_by_page_and_not_without_end(
    side: StripeSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = new_work(amount=Money(100_000, "EUR"))
    charge = await side.provider.charge(work)
    backs = [refund_of(work, charge, 1) for _ in range(105)]
    for back in backs:
        await side.provider.refund(back)
    assert (await side.provider.find_refund(backs[0])) is not None
    for _ in range(100):
        await side.provider.charge(new_work())
    (held,) = await side.provider.holdings()
    assert (held.captured_minor, held.refunded_minor) == (100_000 + 100 * 1999, 105)
    monkeypatch.setattr(stripe, "MAX_HOLDING_PAGES", 1)
    with pytest.raises(Unavailable, match="more than 100"):
        await side.provider.holdings()


async def test_an_answer_that_cannot_be_read_is_no_answer(side: StripeSide) -> None:
    def nonsense(thing: dict[str, Any]) -> None:
        thing["amount"] = "many"

    side.stand_in.books.distort = nonsense
    with pytest.raises(OutcomeUnknown):
        await side.provider.charge(new_work())
    (wrong,) = side.stand_in.wrong
    assert "many" in wrong
    side.stand_in.wrong.clear()


async def test_a_silent_stripe_costs_the_time_out_and_no_second_charge(side: StripeSide) -> None:
    work = new_work()
    side.proxy.cuts.append(Cut.SILENCE)
    with pytest.raises(OutcomeUnknown):
        await side.provider.charge(work)
    assert isinstance(await find_out(side.provider, later(work)), Captured)
    assert [len(await side.taken(work.payment.order_id)), len(side.stand_in.books.intents)] == [1, 1]


async def test_no_secret_of_a_payment_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with open_stripe_side() as side:
            charge = await side.provider.charge(new_work("pm_card_chargeDeclined"))
            await side.provider.charge(new_work())
    said = " ".join(record.getMessage() for record in caplog.records)
    secrets = [intent["client_secret"] for intent in side.stand_in.books.intents.values()]
    assert len(secrets) == 2
    assert charge.id not in said
    assert [secret for secret in [*secrets, stripe_stand_in.API_KEY] if secret in said] == []
