"""What a payment may become, and how much of it may go back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tradewind.chassis.errors import Conflict, Invalid
from tradewind.contracts.money import Money
from tradewind.services.payment.domain import payment as moves
from tradewind.services.payment.domain.payment import MOVES, Payment, Status

NEW = Payment(id="p", order_id="o", customer_id="c", amount=Money(1000, "EUR"))
CAPTURED = moves.capture(NEW)

BECOMES: dict[Status, Callable[[Payment], Payment]] = {
    Status.PROCESSING: moves.resume,
    Status.REQUIRES_ACTION: lambda payment: moves.require_action(payment, "https://bank.test/"),
    Status.AUTHORIZED: moves.authorize,
    Status.CAPTURED: moves.capture,
    Status.FAILED: lambda payment: moves.fail(payment, "card_declined"),
    Status.CANCELLED: moves.cancel,
}


@pytest.mark.parametrize("start", Status)
@pytest.mark.parametrize("to", BECOMES)
def test_a_move_is_in_the_table_or_refused(start: Status, to: Status) -> None:
    before = replace(NEW, status=start)
    if to in MOVES[start]:
        assert BECOMES[to](before).status is to
        return
    with pytest.raises(Conflict) as refused:
        BECOMES[to](before)
    assert refused.value.code == "illegal-transition"


def test_the_table_is_this() -> None:
    assert {(start.value, to.value) for start, targets in MOVES.items() for to in targets} == {
        ("processing", "requires_action"),
        ("processing", "authorized"),
        ("processing", "captured"),
        ("processing", "failed"),
        ("processing", "cancelled"),
        ("requires_action", "processing"),
        ("requires_action", "authorized"),
        ("requires_action", "captured"),
        ("requires_action", "failed"),
        ("requires_action", "cancelled"),
        ("authorized", "captured"),
        ("authorized", "failed"),
        ("authorized", "cancelled"),
        ("cancelled", "captured"),
        ("captured", "partially_refunded"),
        ("captured", "refunded"),
        ("partially_refunded", "partially_refunded"),
        ("partially_refunded", "refunded"),
    }


def test_versions_count_what_is_told() -> None:
    waiting = moves.require_action(NEW, "https://bank.test/")
    assert (waiting.version, waiting.action_url) == (1, "https://bank.test/")
    asked = moves.resume(waiting)
    assert asked.version == 1
    assert moves.wait_again(asked) == waiting
    paid = moves.capture(asked)
    assert (paid.version, paid.captured_minor, paid.action_url) == (2, 1000, None)
    reserved, _ = moves.reserve_refund(paid, None)
    assert reserved.version == 2
    assert moves.complete_refund(reserved, 1000).version == 3
    assert moves.abandon_refund(reserved, 1000).version == 3


def test_who_waits_for_the_customer() -> None:
    assert moves.awaits_confirmation(replace(NEW, status=Status.REQUIRES_ACTION))
    for status in (Status.PROCESSING, Status.CAPTURED, Status.PARTIALLY_REFUNDED, Status.REFUNDED):
        assert not moves.awaits_confirmation(replace(NEW, status=status))
    for status in (Status.FAILED, Status.CANCELLED):
        with pytest.raises(Conflict, match="illegal-transition"):
            moves.awaits_confirmation(replace(NEW, status=status))


def test_a_refund_without_an_amount_is_all_that_is_left() -> None:
    reserved, amount_minor = moves.reserve_refund(CAPTURED, Money(300, "EUR"))
    assert (amount_minor, reserved.refundable_minor) == (300, 700)
    reserved, amount_minor = moves.reserve_refund(reserved, None)
    assert (amount_minor, reserved.refundable_minor) == (700, 0)
    with pytest.raises(Conflict, match="refund-exceeds-captured"):
        moves.reserve_refund(reserved, None)


@pytest.mark.parametrize("amount_minor", [1001, 10**12])
def test_a_refund_of_more_than_is_left_is_refused(amount_minor: int) -> None:
    with pytest.raises(Conflict, match="refund-exceeds-captured"):
        moves.reserve_refund(CAPTURED, Money(amount_minor, "EUR"))


def test_nothing_captured_is_nothing_to_refund() -> None:
    for amount in (None, Money(1, "EUR")):
        with pytest.raises(Conflict, match="refund-exceeds-captured"):
            moves.reserve_refund(NEW, amount)


@pytest.mark.parametrize(
    ("amount", "pointer"),
    [
        (Money(0, "EUR"), "/amount/amount_minor"),
        (Money(-1, "EUR"), "/amount/amount_minor"),
        (Money(1, "USD"), "/amount/currency"),
    ],
)
def test_what_is_no_refund_is_invalid(amount: Money, pointer: str) -> None:
    with pytest.raises(Invalid) as refused:
        moves.reserve_refund(CAPTURED, amount)
    assert (refused.value.status, refused.value.errors[0].pointer) == (422, pointer)


@given(st.lists(st.tuples(st.sampled_from(["reserve", "complete", "abandon"]), st.integers(1, 600)), max_size=30))
def test_whatever_happens_no_more_goes_back_than_came_in(steps: list[tuple[str, int]]) -> None:
    payment, under_way = CAPTURED, list[int]()
    for step, amount_minor in steps:
        if step == "reserve":
            left = payment.refundable_minor
            try:
                payment, reserved = moves.reserve_refund(payment, Money(amount_minor, "EUR"))
            except Conflict:
                assert amount_minor > left
                continue
            under_way.append(reserved)
        elif under_way:
            ended = under_way.pop(0)
            payment = (moves.complete_refund if step == "complete" else moves.abandon_refund)(payment, ended)
        assert payment.refunding_minor == sum(under_way)
        assert 0 <= payment.refunded_minor + payment.refunding_minor <= payment.captured_minor
        whole = payment.refunded_minor == payment.captured_minor
        assert (payment.status is Status.REFUNDED) == whole
