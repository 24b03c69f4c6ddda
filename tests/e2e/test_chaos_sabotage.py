"""A fault run must be able to fail: without one safeguard of the platform it is not clean."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.e2e.test_chaos import TIMEOUT_S, chaos
from tests.mutation.run import copied_source, select


@pytest.mark.timeout(TIMEOUT_S)
def test_events_that_take_effect_twice_are_found(tmp_path: Path) -> None:
    options = ("--seed", "3", "--seconds", "6", "--rate", "15", "--faults", "messages")
    with copied_source() as root:
        for edit in select(["inbox-insert"])[0].edits:
            edit.apply(root)
        code, report, told = chaos(tmp_path, *options, environ={"PYTHONPATH": str(root / "src")})
    assert code == 1, told
    assert report["problems"], told
    kept = Path(report["folder"])
    assert (kept / "journal.jsonl").stat().st_size > 0
    assert (kept / "state/logs/order-1.log").exists()
    shutil.rmtree(kept)
