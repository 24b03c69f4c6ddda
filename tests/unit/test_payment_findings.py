"""What the provider's word means, what to ask next, and what a finding makes of a payment."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tradewind.contracts.money import Money
from tradewind.contracts.payment import (
    PaymentAuthorized,
    PaymentCancelled,
    PaymentCaptured,
    PaymentFailed,
    PaymentRefunded,
    PaymentRefundFailed,
    PaymentRequiresAction,
)
from tradewind.services.payment.domain import payment as moves
from tradewind.services.payment.domain.charge import (
    FIRST_LOOK_S,
    GIVE_UP_AFTER_S,
    WATCH_S,
    ActionRequired,
    Aim,
    AttemptStatus,
    Authorized,
    Captured,
    Charge,
    ChargeStatus,
    Declined,
    Finding,
    Gone,
    Repayment,
    Step,
    Unknown,
    Wrong,
    judge,
    pause_s,
)
from tradewind.services.payment.domain.ledger import Cause
from tradewind.services.payment.domain.payment import Payment, Status
from tradewind.services.payment.domain.refund import (
    Refund,
    RefundStatus,
    Refused,
    Repaid,
    judge_repayment,
    settle_refund,
)
from tradewind.services.payment.domain.settlement import Attempt, abandon_order, confirm, settle

EUR = Money(1000, "EUR")
URL = "https://bank.test/"
PAYMENT = Payment(id="p", order_id="o", customer_id="c", amount=EUR)
ATTEMPT = Attempt(id="a", payment_id="p")


def aim(**changes: Any) -> Aim:
    return replace(
        Aim(
            amount=EUR,
            reference="o",
            step=Step.CHARGE,
            status=AttemptStatus.PROCESSING,
            order_cancelled=False,
            age_s=60.0,
        ),
        **changes,
    )


def charge(status: ChargeStatus, **changes: Any) -> Charge:
    captured_minor = EUR.amount_minor if status is ChargeStatus.SUCCEEDED else 0
    authorized_minor = EUR.amount_minor if status is ChargeStatus.AUTHORIZED else captured_minor
    made = Charge(
        id="ch",
        status=status,
        amount=EUR,
        reference="o",
        authorized_minor=authorized_minor,
        captured_minor=captured_minor,
        action_url=URL,
    )
    return replace(made, **changes)


DONE = charge(ChargeStatus.SUCCEEDED)
HELD = charge(ChargeStatus.AUTHORIZED)


def test_what_is_not_there_may_still_be_under_way() -> None:
    assert isinstance(judge(aim(age_s=GIVE_UP_AFTER_S - 0.1), None), Unknown)
    assert judge(aim(age_s=GIVE_UP_AFTER_S), None) is Step.CHARGE
    assert isinstance(judge(aim(age_s=GIVE_UP_AFTER_S - 0.1, order_cancelled=True), None), Unknown)
    assert judge(aim(age_s=GIVE_UP_AFTER_S, order_cancelled=True), None) == Gone(None)
    given_up = aim(status=AttemptStatus.CANCELLED, order_cancelled=True)
    assert isinstance(judge(given_up, None), Unknown)


@pytest.mark.parametrize(
    ("status", "wanted", "cancelled", "confirming"),
    [
        ("authorized", Authorized, Step.VOID, Authorized),
        ("succeeded", Captured, Captured, Captured),
        ("failed", Declined, Declined, Declined),
        ("requires_action", ActionRequired, Step.VOID, ActionRequired),
        ("requires_confirmation", ActionRequired, Step.VOID, Step.CONFIRM),
        ("cancelled", Declined, Gone, Declined),
        ("other", Unknown, Unknown, Unknown),
    ],
)
def test_the_providers_word(status: str, wanted: Any, cancelled: Any, confirming: Any) -> None:
    said = charge(ChargeStatus(status))
    for verdict, expected in (
        (judge(aim(), said), wanted),
        (judge(aim(order_cancelled=True), said), cancelled),
        (judge(aim(step=Step.VOID), said), cancelled),
        (judge(aim(step=Step.CONFIRM), said), confirming),
        (judge(aim(step=Step.CONFIRM, order_cancelled=True), said), cancelled),
    ):
        assert verdict is expected if isinstance(expected, Step) else isinstance(verdict, expected)


@pytest.mark.parametrize(
    "wrong",
    [{"amount": Money(999, "EUR")}, {"amount": Money(1000, "USD")}, {"reference": "x"}, {"captured_minor": 999}],
)
def test_what_is_not_what_we_asked_for_is_wrong_and_undone(wrong: dict[str, Any]) -> None:
    said = charge(ChargeStatus.SUCCEEDED, **wrong)
    assert judge(aim(), said) == Wrong(said, undone=False)
    assert judge(aim(step=Step.UNDO), said) is Step.UNDO
    undone = replace(said, refunded_minor=said.captured_minor)
    assert judge(aim(step=Step.UNDO), undone) == Wrong(undone, undone=True)
    for status in (ChargeStatus.FAILED, ChargeStatus.CANCELLED):
        nothing = charge(status, **(wrong | {"captured_minor": 0, "amount": Money(1, "EUR")}))
        assert judge(aim(), nothing) == Wrong(nothing, undone=True)


def test_what_is_held_is_captured_once_that_is_written_down() -> None:
    held = aim(step=Step.CAPTURE, status=AttemptStatus.AUTHORIZED)
    assert judge(held, HELD) is Step.CAPTURE
    assert judge(held, DONE) == Captured(DONE)
    assert judge(replace(held, order_cancelled=True), HELD) is Step.VOID
    assert judge(replace(held, step=Step.VOID), HELD) is Step.VOID
    assert judge(replace(held, step=Step.VOID), DONE) == Captured(DONE)


def test_a_hold_that_is_gone_or_lost_ends_as_a_failure() -> None:
    held = aim(step=Step.CAPTURE, status=AttemptStatus.AUTHORIZED)
    expired = charge(ChargeStatus.CANCELLED)
    assert judge(held, expired) == Declined("authorization_expired", expired)
    assert judge(held, None) == Declined("authorization_lost")
    assert isinstance(judge(replace(held, age_s=GIVE_UP_AFTER_S - 0.1), None), Unknown)
    assert judge(replace(held, order_cancelled=True), expired) == Gone(expired)
    assert judge(replace(held, order_cancelled=True), None) == Gone(None)


@pytest.mark.parametrize(
    "wrong", [{"amount": Money(999, "EUR")}, {"authorized_minor": 999}, {"captured_minor": 1}, {"reference": "x"}]
)
def test_another_hold_than_ours_is_wrong_and_never_captured(wrong: dict[str, Any]) -> None:
    said = charge(ChargeStatus.AUTHORIZED, **wrong)
    for step in (Step.CHARGE, Step.CAPTURE, Step.CONFIRM):
        assert judge(aim(step=step), said) == Wrong(said, undone=False)
    assert judge(aim(step=Step.UNDO), said) is Step.UNDO


def test_pauses_grow_to_a_bound() -> None:
    assert pause_s(0, elapsed_s=0.02) == pytest.approx(1.98)
    assert pause_s(0, elapsed_s=2.5) == 0.25
    assert [pause_s(looks, elapsed_s=1.0) for looks in range(1, 7)] == [1, 2, 4, 8, 10, 10]
    assert pause_s(1000, elapsed_s=1.0) == 10
    assert pause_s(1000, elapsed_s=1.0, watching=True) == 60


def test_captured_is_told_and_booked_once() -> None:
    change = settle(PAYMENT, ATTEMPT, Captured(DONE))
    assert change is not None
    assert change.attempt is not None
    assert (change.payment.status, change.payment.version) == (Status.CAPTURED, 1)
    assert (change.attempt.status, change.attempt.charge_id) == (AttemptStatus.SUCCEEDED, "ch")
    assert change.event == PaymentCaptured(payment_id="p", order_id="o", customer_id="c", amount=EUR)
    assert change.booking is not None
    assert (change.booking.cause, change.booking.cause_id, change.booking.amount) == (Cause.CAPTURE, "a", EUR)
    assert change.refund_minor == 0
    for finding in (Captured(DONE), Declined("late"), Gone(DONE), Unknown("")):
        assert settle(change.payment, change.attempt, finding) is None


def test_authorized_is_told_once_and_moves_nothing() -> None:
    change = settle(PAYMENT, ATTEMPT, Authorized(HELD), lease_s=10.0)
    assert change is not None
    assert change.attempt is not None
    assert (change.payment.status, change.payment.version, change.booking) == (Status.AUTHORIZED, 1, None)
    assert change.event == PaymentAuthorized(payment_id="p", order_id="o", customer_id="c", amount=EUR)
    assert (change.attempt.status, change.attempt.step) == (AttemptStatus.AUTHORIZED, Step.CAPTURE)
    assert (change.attempt.charge_id, change.attempt.due_in_s) == ("ch", 10.0)
    assert settle(change.payment, change.attempt, Authorized(HELD)) is None
    captured = settle(change.payment, change.attempt, Captured(DONE))
    assert captured is not None
    assert (captured.payment.status, captured.payment.version) == (Status.CAPTURED, 2)


def test_held_for_a_cancelled_order_is_let_go_of() -> None:
    late = settle(moves.cancel_order(PAYMENT), ATTEMPT, Authorized(HELD))
    assert late is not None
    assert late.attempt is not None
    assert (late.event, late.payment.status, late.attempt.step, late.attempt.due_in_s) == (
        None,
        Status.PROCESSING,
        Step.VOID,
        0.0,
    )
    held = settle(PAYMENT, ATTEMPT, Authorized(HELD))
    assert held is not None
    assert held.attempt is not None
    abandoned = abandon_order(held.payment, held.attempt, due_in_s=5.0)
    assert abandoned.attempt is not None
    assert (abandoned.attempt.step, abandoned.attempt.due_in_s) == (Step.VOID, 5.0)
    # The capture that was under way found it let go of: it did not know that nobody wants it any more.
    expired = Declined("authorization_expired", charge(ChargeStatus.CANCELLED))
    voided = settle(abandoned.payment, abandoned.attempt, expired)
    assert voided is not None
    assert (voided.payment.status, type(voided.event)) == (Status.CANCELLED, PaymentCancelled)
    overtaken = settle(abandoned.payment, abandoned.attempt, Captured(DONE))
    assert overtaken is not None
    assert (overtaken.payment.status, overtaken.refund_minor) == (Status.CAPTURED, 1000)


def test_a_wrong_hold_that_is_being_undone_is_not_taken_for_another_thing() -> None:
    held = settle(PAYMENT, ATTEMPT, Authorized(HELD))
    assert held is not None
    assert held.attempt is not None
    said = charge(ChargeStatus.SUCCEEDED, captured_minor=999)
    wrong = settle(held.payment, held.attempt, Wrong(said, undone=False))
    assert wrong is not None
    assert wrong.attempt is not None
    assert settle(wrong.payment, wrong.attempt, Wrong(said, undone=False)) is None
    kept = abandon_order(wrong.payment, wrong.attempt, due_in_s=5.0)
    assert kept.attempt is None
    assert kept.payment.order_cancelled


def test_captured_for_a_cancelled_order_goes_back() -> None:
    change = settle(moves.cancel_order(PAYMENT), ATTEMPT, Captured(DONE))
    assert change is not None
    assert (change.refund_minor, change.payment.refunding_minor) == (1000, 1000)
    assert isinstance(change.event, PaymentCaptured)


def test_declined() -> None:
    change = settle(PAYMENT, ATTEMPT, Declined("card_declined"))
    assert change is not None
    assert (change.payment.status, change.payment.code) == (Status.FAILED, "card_declined")
    assert isinstance(change.event, PaymentFailed)
    assert change.booking is None


def test_a_challenge_is_told_once() -> None:
    asked = ActionRequired(charge(ChargeStatus.REQUIRES_ACTION), URL)
    first = settle(PAYMENT, ATTEMPT, asked)
    assert first is not None
    assert first.attempt is not None
    assert isinstance(first.event, PaymentRequiresAction)
    again = settle(first.payment, first.attempt, asked)
    assert again is not None
    assert again.payment is first.payment
    assert again.event is None

    payment, attempt = confirm(first.payment, first.attempt, due_in_s=5.0)
    assert (payment.status, attempt.step, attempt.due_in_s) == (Status.PROCESSING, Step.CONFIRM, 5.0)
    early = settle(payment, attempt, asked)
    assert early is not None
    assert early.attempt is not None
    assert (early.payment, early.event) == (first.payment, None)
    assert (early.attempt.step, early.attempt.due_in_s) == (Step.CONFIRM, FIRST_LOOK_S)
    still = settle(early.payment, early.attempt, asked)
    assert still is not None
    assert still.attempt is not None
    assert (still.payment, still.event) == (first.payment, None)
    assert (still.attempt.step, still.attempt.due_in_s) == (Step.CHARGE, None)


def test_a_challenge_of_a_cancelled_order_is_let_go_of() -> None:
    asked = ActionRequired(charge(ChargeStatus.REQUIRES_ACTION), URL)
    change = settle(moves.cancel_order(PAYMENT), ATTEMPT, asked)
    assert change is not None
    assert change.attempt is not None
    assert (change.event, change.attempt.step, change.attempt.due_in_s) == (None, Step.VOID, 0.0)


def test_an_abandoned_order() -> None:
    under_way = abandon_order(PAYMENT, ATTEMPT, due_in_s=5.0)
    assert (under_way.payment.status, under_way.payment.order_cancelled) == (Status.PROCESSING, True)
    assert under_way.attempt is None
    waiting = abandon_order(moves.require_action(PAYMENT, URL), ATTEMPT, due_in_s=5.0)
    assert waiting.attempt is not None
    assert (waiting.payment.status, waiting.attempt.step) == (Status.PROCESSING, Step.VOID)
    part, _ = moves.reserve_refund(moves.capture(PAYMENT), Money(300, "EUR"))
    assert abandon_order(part, ATTEMPT, due_in_s=5.0).refund_minor == 700
    whole, _ = moves.reserve_refund(part, None)
    assert abandon_order(whole, ATTEMPT, due_in_s=5.0).refund_minor == 0


def test_what_is_gone_without_the_providers_word_is_watched() -> None:
    cancelled = moves.cancel_order(PAYMENT)
    certain = settle(cancelled, ATTEMPT, Gone(charge(ChargeStatus.CANCELLED)))
    unheard = settle(cancelled, ATTEMPT, Gone(None))
    assert certain is not None
    assert unheard is not None
    for change in (certain, unheard):
        assert change.payment.status is Status.CANCELLED
        assert isinstance(change.event, PaymentCancelled)
    assert certain.attempt is not None
    assert certain.attempt.due_in_s is None
    assert unheard.attempt is not None
    assert unheard.attempt.due_in_s is not None

    still = settle(unheard.payment, unheard.attempt, Unknown(""))
    assert still is not None
    assert still.attempt is not None
    assert still.attempt.due_in_s is not None
    long_ago = settle(unheard.payment, replace(unheard.attempt, settled_age_s=WATCH_S + 1), Unknown(""))
    assert long_ago is not None
    assert long_ago.attempt is not None
    assert long_ago.attempt.due_in_s is None

    late = settle(unheard.payment, unheard.attempt, Captured(DONE))
    assert late is not None
    assert (late.payment.status, late.payment.version, late.refund_minor) == (Status.CAPTURED, 2, 1000)


def test_wrong_is_booked_until_it_is_undone() -> None:
    said = charge(ChargeStatus.SUCCEEDED, amount=Money(7, "USD"), captured_minor=7)
    found = settle(PAYMENT, ATTEMPT, Wrong(said, undone=False))
    assert found is not None
    assert found.attempt is not None
    assert found.booking is not None
    assert found.discrepancy is not None
    assert (found.payment, found.event, found.attempt.step) == (PAYMENT, None, Step.UNDO)
    assert (found.booking.cause, found.booking.amount) == (Cause.MISMATCH, Money(7, "USD"))
    undone = settle(PAYMENT, found.attempt, Wrong(replace(said, refunded_minor=7), undone=True))
    assert undone is not None
    assert undone.booking is not None
    assert (undone.booking.cause, undone.booking.amount) == (Cause.MISMATCH_UNDONE, Money(7, "USD"))
    assert (undone.payment.status, undone.payment.code, undone.resolves) == (Status.FAILED, "provider_mismatch", "a")


FINDINGS = st.sampled_from(
    [
        Authorized(HELD),
        Captured(DONE),
        Declined("card_declined"),
        Declined("authorization_expired", charge(ChargeStatus.CANCELLED)),
        ActionRequired(charge(ChargeStatus.REQUIRES_ACTION), URL),
        ActionRequired(charge(ChargeStatus.REQUIRES_CONFIRMATION), None),
        Gone(None),
        Gone(charge(ChargeStatus.CANCELLED)),
        Wrong(charge(ChargeStatus.SUCCEEDED, captured_minor=7), undone=False),
        Wrong(charge(ChargeStatus.SUCCEEDED, captured_minor=7, refunded_minor=7), undone=True),
        Unknown(""),
    ]
)


@given(st.lists(st.one_of(FINDINGS, st.just("abandon"), st.just("confirm")), max_size=12))
def test_in_whatever_order_news_comes(story: list[Finding | str]) -> None:
    """Doubled, late, out of order or absurd: at most one capture, versions without a gap, nothing left of a cancelled order."""
    payment, attempt, told, captures = PAYMENT, ATTEMPT, 0, 0
    for news in story:
        if news == "confirm":
            if payment.status is Status.REQUIRES_ACTION:
                payment, attempt = confirm(payment, attempt, due_in_s=1.0)
            continue
        if news == "abandon":
            if payment.order_cancelled:
                continue
            change = abandon_order(payment, attempt, due_in_s=1.0)
        else:
            assert not isinstance(news, str)
            # Nobody finds an order's charge gone that is not cancelled: `judge` sees to that.
            if isinstance(news, Gone) and not payment.order_cancelled:
                continue
            found = settle(payment, attempt, news)
            if found is None:
                continue
            change = found
        payment, attempt = change.payment, change.attempt or attempt
        told += change.event is not None
        captures += change.booking is not None and change.booking.cause is Cause.CAPTURE
        assert payment.version == told
        assert captures == (payment.captured_minor > 0) <= 1
        assert payment.refunding_minor <= payment.captured_minor
        if payment.order_cancelled:
            assert payment.refundable_minor == 0
        open_ = payment.status in (Status.PROCESSING, Status.REQUIRES_ACTION, Status.AUTHORIZED)
        live = (AttemptStatus.PROCESSING, AttemptStatus.REQUIRES_ACTION, AttemptStatus.AUTHORIZED)
        assert open_ == (attempt.status in live)
        assert (payment.status is Status.AUTHORIZED) == (attempt.status is AttemptStatus.AUTHORIZED)


REFUND = Refund(id="r", payment_id="p", amount_minor=1000, reason="broken")


def refunding(**changes: Any) -> Payment:
    reserved, _ = moves.reserve_refund(moves.capture(replace(PAYMENT, **changes)), None)
    return reserved


def test_the_providers_word_about_a_refund() -> None:
    done = Repayment(id="re", amount=EUR, succeeded=True)
    assert judge_repayment(done) == Repaid(done)
    assert judge_repayment(replace(done, succeeded=False, failed=True, code="no")) == Refused("no")
    assert isinstance(judge_repayment(replace(done, succeeded=False)), Unknown)


def test_repaid() -> None:
    change = settle_refund(refunding(), REFUND, Repaid(Repayment(id="re", amount=EUR, succeeded=True)))
    assert change is not None
    assert (change.payment.status, change.refund.status) == (Status.REFUNDED, RefundStatus.SUCCEEDED)
    assert isinstance(change.event, PaymentRefunded)
    assert (change.event.refunded, change.event.captured) == (EUR, EUR)
    assert change.booking is not None
    assert (change.booking.cause, change.booking.cause_id) == (Cause.REFUND, "r")
    assert settle_refund(change.payment, change.refund, Refused("late")) is None


def test_another_sum_than_asked_for_is_nobodys_to_settle() -> None:
    payment = refunding()
    change = settle_refund(payment, REFUND, Repaid(Repayment(id="re", amount=Money(1, "EUR"), succeeded=True)))
    assert change is not None
    assert (change.payment, change.event, change.booking) == (payment, None, None)
    assert change.discrepancy is not None
    assert change.refund.status is RefundStatus.PENDING


def test_refused_may_be_asked_for_again() -> None:
    change = settle_refund(refunding(), REFUND, Refused("no"))
    assert change is not None
    assert isinstance(change.event, PaymentRefundFailed)
    assert (change.payment.refundable_minor, change.payment.version) == (1000, 2)
    assert (change.refund.status, change.refund_minor) == (RefundStatus.FAILED, 0)


def test_refused_for_a_cancelled_order_is_asked_for_by_itself() -> None:
    change = settle_refund(refunding(order_cancelled=True), REFUND, Refused("no"))
    assert change is not None
    assert (change.refund.status, change.refund_minor) == (RefundStatus.FAILED, 1000)
    by_itself = replace(REFUND, by_itself=True)
    for round_ in range(3):
        assert by_itself.key == ("r" if round_ == 0 else f"r:{round_}")
        again = settle_refund(refunding(order_cancelled=True), by_itself, Refused("no"))
        assert again is not None
        assert (again.event, again.refund.status) == (None, RefundStatus.PENDING)
        by_itself = again.refund
    unknown = settle_refund(refunding(), by_itself, Unknown(""))
    assert unknown is not None
    assert unknown.refund.key == by_itself.key
