"""Identifiers say when they were made."""

from __future__ import annotations

import time

import pytest

from tradewind.chassis.ids import is_id, made_at_ms, new_id


def test_an_id_knows_when_it_was_made() -> None:
    before_ms = time.time_ns() // 1_000_000
    made = new_id()
    assert is_id(made)
    made_at = made_at_ms(made)
    assert made_at is not None
    assert before_ms <= made_at <= time.time_ns() // 1_000_000


@pytest.mark.parametrize(
    "other", ["", "x", "0b0f1c3e-8a52-4c3b-9d0e-2f6d1f0c7a11", "01890000-0000-7000-8000-00000000000"]
)
def test_what_is_none_of_ours_does_not(other: str) -> None:
    assert made_at_ms(other) is None
