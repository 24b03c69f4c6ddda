"""A clock that is wrong on purpose, for fault runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tradewind.chassis.clock import SKEW_READ_EVERY_S, SkewedClock
from tradewind.chassis.settings import ServiceSettings, SettingsError, load


class Fast(SkewedClock):
    """Reads its file whenever it is asked, as if the time between had passed."""

    def monotonic_s(self) -> float:
        self.asked = getattr(self, "asked", 0) + 1
        return self.asked * SKEW_READ_EVERY_S * 2


def error_of(clock: SkewedClock) -> timedelta:
    return clock.now() - datetime.now(UTC)


def test_it_is_wrong_by_what_the_file_says_now(tmp_path: Path) -> None:
    file = tmp_path / "order"
    clock = Fast(file)
    assert abs(error_of(clock)) < timedelta(seconds=5)
    file.write_text("-180")
    assert timedelta(seconds=-185) < error_of(clock) < timedelta(seconds=-175)
    file.write_text("240.5")
    assert timedelta(seconds=235) < error_of(clock) < timedelta(seconds=245)
    file.write_text("0")
    assert abs(error_of(clock)) < timedelta(seconds=5)


@pytest.mark.parametrize("text", ["", "soon", "nan", "1e12"])
def test_what_is_no_number_of_seconds_leaves_it_right(tmp_path: Path, text: str) -> None:
    file = tmp_path / "order"
    file.write_text(text)
    assert abs(error_of(Fast(file))) < timedelta(seconds=5)


def test_it_does_not_read_at_every_question(tmp_path: Path) -> None:
    file = tmp_path / "order"
    clock = SkewedClock(file)
    clock.now()
    file.write_text("3600")
    assert abs(error_of(clock)) < timedelta(seconds=5)


def test_production_refuses_a_wrong_clock() -> None:
    class OrderSettings(ServiceSettings, frozen=True, kw_only=True):
        PREFIX = "ORDER_"

    environ = {"ORDER_CLOCK_SKEW_FILE": "clock"}
    with pytest.raises(SettingsError, match=r"ORDER_CLOCK_SKEW_FILE.*TRADEWIND_ENV=dev"):
        load(OrderSettings, environ)
    assert load(OrderSettings, {**environ, "TRADEWIND_ENV": "dev"}).clock_skew_file == "clock"
