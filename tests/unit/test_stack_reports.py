"""What the verbs print."""

from __future__ import annotations

from pathlib import Path

import pytest

from tradewind.cli import VERBS, main
from tradewind.cli.output import aligned, duration
from tradewind.cli.reports import TextReport, ended
from tradewind.stack.events import likely_fix
from tradewind.stack.state import State


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0s"), (75, "1m15s"), (3720, "1h02m"), (93600, "1d02h")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_columns_are_aligned() -> None:
    assert aligned([("NAME", "PID"), ("order-1", "7")]) == ["NAME     PID", "order-1  7"]


def test_an_exit_status_in_words() -> None:
    assert ended(-9) == "was ended by SIGKILL"
    assert ended(3) == "ended with exit code 3"


def test_a_process_is_announced_once() -> None:
    report = TextReport(State(Path("/nowhere")))
    event = {"event": "process", "name": "order-1", "state": "running", "ready": True}
    assert report.text(event) == ["order-1 is ready"]
    assert report.text(event) == []
    assert report.text({**event, "state": "backoff", "exit_code": -9, "restart_in_s": 0.0}) == [
        "order-1 was ended by SIGKILL, started again"
    ]
    assert report.text(event) == ["order-1 is ready"]


def test_a_failure_comes_with_its_likely_fix() -> None:
    assert "disk" in likely_fix("postgres", "FATAL: could not write: No space left on device")
    assert likely_fix("order-1", "boom") == "read the whole story: tradewind logs order-1"


def test_every_verb_of_the_table_exists() -> None:
    for verb in VERBS:
        command = main.get_command(None, verb)  # type: ignore[arg-type]
        assert command is not None
        assert command.help
