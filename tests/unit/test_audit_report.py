"""The audit's judgement where no database is needed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from tradewind.audit.bus_digests import _first_id
from tradewind.audit.checks import CHECKS
from tradewind.audit.checks.log import Gaps
from tradewind.audit.invariants import INVARIANTS, Report, Violation
from tradewind.chassis.ids import is_id, new_id
from tradewind.cli.audit import exit_code

CLEAN = Report(
    clean=True, complete=True, settled=True, waits_for=[], left_out=[], not_seen=[], waited_s=0.0, took_s=0.0,
    checked=dict.fromkeys(INVARIANTS, 0), violations=[],
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 0),
        ({"left_out": ["a charge"]}, 0),
        ({"not_seen": ["sessions"]}, 0),
        ({"settled": False, "waits_for": ["a stream"]}, 17),
        ({"complete": False, "not_seen": ["the provider"]}, 1),
        ({"clean": False, "violations": [Violation("I1", "a", "b", "c")]}, 1),
        ({"clean": False, "settled": False}, 1),
        ({"complete": False, "settled": False}, 1),
    ],
)
def test_the_exit_code_says_the_worst(changes: dict[str, Any], expected: int) -> None:
    assert exit_code(msgspec.structs.replace(CLEAN, **changes)) == expected


def test_every_invariant_is_checked() -> None:
    named = {
        word.rstrip(",") for name, _ in CHECKS for word in name.split() if word.startswith("I") and word[1:2].isdigit()
    }
    assert named == set(INVARIANTS)


def test_ids_of_a_moment_begin_with_it() -> None:
    now = datetime.now(UTC)
    assert is_id(_first_id(now))
    assert _first_id(now - timedelta(seconds=1)) < new_id() < _first_id(now + timedelta(seconds=1))


def test_a_hole_explains_as_many_events_as_it_has_messages() -> None:
    gaps = Gaps({("order", 3): [7, 9]}, set())
    assert not gaps.explain(("order", 2), 1, at_the_beginning=False)
    assert gaps.explain(("order", 3), 1, at_the_beginning=False)
    assert not gaps.explain(("order", 3), 2, at_the_beginning=False)
    assert list(gaps.left()) == [(("order", 3), [9])]
    assert gaps.explain(("order", 3), 1, at_the_beginning=False)
    assert list(gaps.left()) == []


def test_a_beginning_that_is_gone_explains_first_events_only() -> None:
    gaps = Gaps({}, {("order", 3)})
    assert gaps.explain(("order", 3), 2, at_the_beginning=True)
    assert not gaps.explain(("order", 3), 2, at_the_beginning=False)
    assert not gaps.explain(("order", 4), 2, at_the_beginning=True)
