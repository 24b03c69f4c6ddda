"""The supervisor's rules that need no process: back-off, order of stopping, names."""

from __future__ import annotations

import pytest

from tradewind.stack.instance import BACKOFF_MAX_S, backoff_s
from tradewind.stack.unit import Launch, Unit, stop_order


def unit(name: str, *needs: str, room: str | None = None) -> Unit:
    return Unit(name=name, launch=lambda _: Launch(argv=(), env={}), needs=needs, room=room)


def test_the_first_restart_is_immediate_then_the_pause_doubles_to_five_seconds() -> None:
    assert [backoff_s(failures) for failures in range(1, 9)] == [0, 0.25, 0.5, 1, 2, 4, 5, 5]
    assert backoff_s(10_000) == BACKOFF_MAX_S


def test_units_stop_before_what_they_need() -> None:
    units = {
        each.name: each
        for each in (unit("postgres"), unit("gateway"), unit("envoy", "gateway"), unit("order", "postgres", "envoy"))
    }
    assert stop_order(units) == [["order"], ["postgres", "envoy"], ["gateway"]]


def test_an_engine_that_is_not_ours_is_no_obstacle_to_stopping() -> None:
    assert stop_order({"order": unit("order", "postgres")}) == [["order"]]


def test_units_that_need_each_other_are_an_error() -> None:
    with pytest.raises(ValueError, match="circle: a, b"):
        stop_order({"a": unit("a", "b"), "b": unit("b", "a")})


def test_rooms_are_numbered_and_engines_are_not() -> None:
    assert unit("order", room="order").slot(2) == "order-2"
    assert unit("envoy").slot(1) == "envoy"
