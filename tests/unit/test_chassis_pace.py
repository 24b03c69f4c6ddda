"""How rounds are kept apart."""

from __future__ import annotations

import pytest

from tradewind.chassis.pace import Pace


class Watch:
    """A clock that is set by hand."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def rounds(pace: Pace, watch: Watch, *, until_s: float, every_s: float) -> int:
    """Rounds that are begun where one is wanted every `every_s`, each as soon as it may."""
    begun = 0
    while watch.now_s < until_s:
        watch.now_s += pace.pause_s
        pace.mark()
        begun += 1
        watch.now_s += every_s
    return begun


def test_after_a_quiet_time_a_few_begin_at_once_and_then_one_in_the_gap() -> None:
    watch = Watch()
    pace = Pace(0.02, burst=2, monotonic_s=watch)
    pauses = []
    for _ in range(5):
        pauses.append(pace.pause_s)
        watch.now_s += pace.pause_s
        pace.mark()
    assert pauses == pytest.approx([0, 0, 0, 0.02, 0.02])
    watch.now_s += 10
    assert pace.pause_s == 0


def test_a_slow_stream_is_never_held_up_and_a_fast_one_keeps_the_pace() -> None:
    watch = Watch()
    pace = Pace(0.02, monotonic_s=watch)
    for _ in range(50):
        assert pace.pause_s == 0
        pace.mark()
        watch.now_s += 0.021
    assert rounds(pace, watch, until_s=watch.now_s + 10, every_s=0.001) == pytest.approx(500, abs=5)


def test_a_long_rest_does_not_add_up() -> None:
    watch = Watch()
    pace = Pace(1.0, burst=1, monotonic_s=watch)
    pace.mark()
    watch.now_s += 1_000
    pace.mark()
    pace.mark()
    assert pace.pause_s == pytest.approx(1.0)
