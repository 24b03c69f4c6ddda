"""The circuit breaker, second by second."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tradewind.chassis.breaker import Breaker, Permit, State
from tradewind.chassis.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def changes() -> list[State]:
    return []


@pytest.fixture
def breaker(clock: ManualClock, changes: list[State]) -> Breaker:
    return Breaker(
        window_s=10, least_calls=10, failure_ratio=0.5, open_s=5, probes=2,
        monotonic_s=clock.monotonic_s, on_change=changes.append,
    )  # fmt: skip


def permit(breaker: Breaker) -> Permit:
    found = breaker.ask()
    assert found is not None
    return found


def call(breaker: Breaker, *outcomes: bool) -> None:
    for outcome in outcomes:
        permit(breaker).succeeded() if outcome else permit(breaker).failed()


def test_few_failures_or_a_small_share_leave_it_closed(breaker: Breaker) -> None:
    call(breaker, *[False] * 9)
    assert breaker.state is State.CLOSED
    other = Breaker(least_calls=10)
    call(other, *[True] * 60, *[False] * 59)
    assert other.state is State.CLOSED


def test_it_opens_at_the_ratio_and_refuses(breaker: Breaker, changes: list[State]) -> None:
    call(breaker, *[True, False] * 5)
    assert breaker.state is State.OPEN
    assert breaker.ask() is None
    assert breaker.retry_after_s() == 5.0
    assert changes == [State.OPEN]


def test_old_failures_leave_the_window(breaker: Breaker, clock: ManualClock) -> None:
    call(breaker, *[False] * 9)
    clock.advance(10)
    call(breaker, *[True] * 3, *[False] * 2)
    assert breaker.state is State.CLOSED


def test_two_good_probes_close_it(breaker: Breaker, clock: ManualClock, changes: list[State]) -> None:
    call(breaker, *[False] * 10)
    clock.advance(4.9)
    assert breaker.ask() is None
    clock.advance(0.1)
    one, two = permit(breaker), permit(breaker)
    assert breaker.ask() is None
    one.succeeded()
    assert breaker.ask() is None  # one succeeded, one under way: no third
    two.succeeded()
    assert changes == [State.OPEN, State.HALF_OPEN, State.CLOSED]
    call(breaker, *[False] * 9)
    assert breaker.state is State.CLOSED  # what came before is forgotten


def test_one_bad_probe_opens_it_again_for_as_long(breaker: Breaker, clock: ManualClock) -> None:
    call(breaker, *[False] * 10)
    clock.advance(5)
    call(breaker, True, False)
    assert breaker.state is State.OPEN
    assert breaker.retry_after_s() == 5.0


def test_an_abandoned_probe_gives_its_place_to_another(breaker: Breaker, clock: ManualClock) -> None:
    call(breaker, *[False] * 10)
    clock.advance(5)
    for _ in range(5):
        permit(breaker).abandoned()
    assert breaker.state is State.HALF_OPEN
    call(breaker, True, True)
    assert breaker.state is State.CLOSED


def test_late_answers_of_an_earlier_era_do_not_count(breaker: Breaker, clock: ManualClock) -> None:
    slow = [permit(breaker) for _ in range(20)]
    call(breaker, *[False] * 10)
    clock.advance(5)
    probe = permit(breaker)
    for late in slow:
        late.failed()
    assert breaker.state is State.HALF_OPEN
    probe.succeeded()
    call(breaker, True)
    assert breaker.state is State.CLOSED


def test_only_the_first_word_counts(breaker: Breaker) -> None:
    for _ in range(10):
        one = permit(breaker)
        one.succeeded()
        one.failed()
        one.abandoned()
    assert breaker.state is State.CLOSED
