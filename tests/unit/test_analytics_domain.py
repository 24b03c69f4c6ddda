"""Periods and means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from tradewind.chassis.errors import Invalid
from tradewind.services.analytics.domain import BEGINNING, END, average, period


def test_an_open_period_holds_everything() -> None:
    assert (period(None, None).start, period(None, None).end) == (BEGINNING, END)


def test_times_are_utc_whatever_the_offset() -> None:
    berlin = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))
    assert period(berlin, None).start == datetime(2026, 1, 1, tzinfo=UTC)
    assert period(datetime(2026, 1, 1), None).start == datetime(2026, 1, 1, tzinfo=UTC)  # noqa: DTZ001


def test_a_period_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(Invalid) as refused:
        period(datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))
    assert (refused.value.code, refused.value.status) == ("period-invalid", 400)


def test_a_time_out_of_range_is_refused() -> None:
    with pytest.raises(Invalid):
        period(datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))), None)


@pytest.mark.parametrize(("amount", "count", "mean"), [(0, 0, 0), (100, 3, 33), (200, 3, 67), (5, 2, 3), (999, 1, 999)])
def test_means_round_half_up(amount: int, count: int, mean: int) -> None:
    assert average(amount, count) == mean
