"""`tradewind secrets`: values go in, and never out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tradewind.chassis.secrets.opening import STORE
from tradewind.cli import main
from tradewind.stack.state import State

CANARY = "canary-8d21-do-not-print"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    monkeypatch.setenv("TRADEWIND_HOME", str(tmp_path))
    monkeypatch.delenv(STORE, raising=False)
    found = State(tmp_path)
    found.create()
    lock = found.lock()
    assert lock is not None
    lock.release()
    return found


def run(*words: str, given: str | None = None) -> Result:
    done = CliRunner().invoke(main, ["secrets", *words], input=given)
    assert CANARY not in done.output
    return done


def test_a_value_from_standard_input_is_kept_and_listed_by_its_name(state: State) -> None:
    state.secrets().get("bus")
    assert run("set", "stripe_api_key", given=f"{CANARY}\n").exit_code == 0
    assert state.secrets().get("stripe_api_key") == CANARY
    listed = run("ls")
    assert [line.split()[0] for line in listed.output.splitlines()] == ["NAME", "bus", "stripe_api_key"]
    told = json.loads(run("ls", "--format", "json").output)
    assert [set(row) for row in told["secrets"]] == [{"name", "changed_at"}] * 2


@pytest.mark.parametrize("words", [("stripe_api_key", CANARY), ("stripe_api_key", f"--value={CANARY}"), (CANARY,)])
def test_a_value_on_the_command_line_is_refused_and_not_repeated(state: State, words: tuple[str, ...]) -> None:
    assert run("set", *words, given="x").exit_code in {1, 2}
    assert [entry.name for entry in state.secrets().store().entries()] == []


def test_what_cannot_be_is_one_line_with_its_fix(state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (run("set", "a_name", given="").exit_code, run("set", "a_name", given="x").exit_code) == (1, 0)
    monkeypatch.setenv(STORE, f"mounted:{tmp_path}")
    refused = run("set", "a_name", given=CANARY)
    assert refused.exit_code == 1
    assert "mounted files are changed where they come from" in refused.output
    monkeypatch.delenv(STORE)
    monkeypatch.setenv("TRADEWIND_SECRETS_KEY", "A" * 43 + "=")
    assert "another key" in run("ls").output
    monkeypatch.setenv("TRADEWIND_HOME", str(tmp_path / "none"))
    assert "no state folder" in run("ls").output
