"""Which bus a state folder used, and since when."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from tradewind.stack.state import State

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ONE = datetime(2026, 3, 1, 13, tzinfo=UTC)


def test_a_bus_that_was_always_the_same_has_no_since(tmp_path: Path) -> None:
    state = State(tmp_path)
    assert state.bus() is None
    for now in (NOON, ONE):
        assert not state.remember_bus("kafka://a:9092", now)
        bus = state.bus()
        assert bus is not None
        assert (bus.kafka_url, bus.since) == ("kafka://a:9092", None)


def test_another_bus_is_noted_with_the_time_and_kept(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.remember_bus("", NOON)
    assert state.remember_bus("kafka://a:9092", NOON)
    assert not state.remember_bus("kafka://a:9092", ONE)
    bus = state.bus()
    assert bus is not None
    assert bus.since == NOON
    assert state.remember_bus("", ONE)
    bus = state.bus()
    assert bus is not None
    assert (bus.kafka_url, bus.since) == ("", ONE)
