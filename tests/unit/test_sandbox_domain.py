"""A charge's states: every move from every state, and what no sequence of moves can break."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradewind.chassis.errors import Conflict
from tradewind.sandbox import domain
from tradewind.sandbox.domain import Charge, Status

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def new_charge(*, capture: bool = True) -> Charge:
    return Charge(
        id="ch_1",
        idempotency_key="k",
        reference="r",
        payment_method="pm_card_visa",
        amount_minor=1000,
        currency="EUR",
        capture=capture,
        metadata={},
        created_at=NOW,
    )


def authorized() -> Charge:
    return domain.confirm(new_charge(capture=False))


def succeeded() -> Charge:
    return domain.confirm(new_charge())


def test_confirming_takes_the_money_or_holds_it() -> None:
    assert (succeeded().status, succeeded().captured_minor) == (Status.SUCCEEDED, 1000)
    assert (authorized().status, authorized().captured_minor) == (Status.AUTHORIZED, 0)


def test_a_challenge_is_answered_once_and_then_confirmed() -> None:
    waiting = domain.challenge(new_charge(), "token")
    assert domain.confirm(waiting) is waiting
    approved = domain.answer_challenge(waiting, approved=True)
    assert approved.status is Status.REQUIRES_CONFIRMATION
    assert domain.answer_challenge(approved, approved=False) is approved
    assert domain.confirm(approved).captured_minor == 1000


def test_a_refused_challenge_fails_for_good() -> None:
    refused = domain.answer_challenge(domain.challenge(new_charge(), "token"), approved=False)
    assert (refused.status, refused.failure_code) == (Status.FAILED, "authentication_failed")
    assert domain.confirm(refused) is refused


def test_capture_takes_all_or_a_part_but_never_more() -> None:
    assert domain.capture(authorized()).captured_minor == 1000
    part = domain.capture(authorized(), 400)
    assert (part.status, part.captured_minor) == (Status.SUCCEEDED, 400)
    with pytest.raises(Conflict, match="capture_exceeds_authorized"):
        domain.capture(authorized(), 1001)


def test_repeating_a_move_changes_nothing() -> None:
    captured = domain.capture(authorized(), 400)
    assert domain.capture(captured, 400) is captured
    cancelled = domain.cancel(authorized())
    assert domain.cancel(cancelled) is cancelled
    assert domain.confirm(succeeded()).status is Status.SUCCEEDED


def test_moves_that_are_refused() -> None:
    cancelled = domain.cancel(authorized())
    with pytest.raises(Conflict, match="charge_not_capturable"):
        domain.capture(cancelled)
    with pytest.raises(Conflict, match="charge_not_capturable"):
        domain.capture(succeeded(), 400)
    with pytest.raises(Conflict, match="charge_not_confirmable"):
        domain.confirm(cancelled)
    for final in (succeeded(), domain.decline(new_charge(), "card_declined")):
        with pytest.raises(Conflict, match="charge_not_cancellable"):
            domain.cancel(final)


def test_refunds_end_at_what_was_captured() -> None:
    charge = domain.give_back(domain.capture(authorized(), 400), 300)
    with pytest.raises(Conflict, match="refund_exceeds_captured"):
        domain.give_back(charge, 101)
    assert domain.give_back(charge, 100).refunded_minor == 400


amounts = st.integers(min_value=1, max_value=1500)
moves = st.one_of(
    st.just(("confirm", 0)),
    st.just(("cancel", 0)),
    st.tuples(st.just("capture"), amounts),
    st.tuples(st.just("refund"), amounts),
    st.tuples(st.just("answer"), st.integers(min_value=0, max_value=1)),
)


def step(charge: Charge, move: str, amount: int) -> Charge:
    try:
        match move:
            case "confirm":
                return domain.confirm(charge)
            case "cancel":
                return domain.cancel(charge)
            case "capture":
                return domain.capture(charge, amount)
            case "refund":
                return domain.give_back(charge, amount)
            case _:
                return domain.answer_challenge(charge, approved=bool(amount))
    except Conflict:
        return charge


@given(capture=st.booleans(), challenged=st.booleans(), steps=st.lists(moves, max_size=12))
def test_no_sequence_of_moves_breaks_the_money(capture: bool, challenged: bool, steps: list[tuple[str, int]]) -> None:
    charge = new_charge(capture=capture)
    charge = domain.challenge(charge, "token") if challenged else charge
    for move, amount in steps:
        before, charge = charge, step(charge, move, amount)
        assert 0 <= charge.refunded_minor <= charge.captured_minor <= charge.amount_minor
        assert charge.captured_minor >= before.captured_minor
        assert (charge.captured_minor > 0) == (charge.status is Status.SUCCEEDED)
        if before.status in (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED):
            assert charge.status is before.status
