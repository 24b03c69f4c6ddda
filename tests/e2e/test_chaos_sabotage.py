"""A fault run must be able to fail: without one safeguard of the platform, the fault that it is for is not survived."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest

from tests.e2e.test_chaos import TIMEOUT_S, chaos
from tests.mutation.run import copied_source, select
from tradewind.chaos.plan import Options, make_plan

SECONDS = 4.0


def seed_that_parts_orders_from_the_bus() -> int:
    """The first whose plan is that one fault and nothing else."""
    for seed in itertools.count(1):
        plan = make_plan(Options(seed=seed, seconds=SECONDS, kinds=("partition",)))
        struck = [strike.fault for wave in plan for strike in wave.strikes]
        if [(fault.target, fault.mode) for fault in struck] == [("order/bus", "refuse")]:
            return seed
    raise AssertionError


@pytest.mark.timeout(TIMEOUT_S)
def test_events_that_are_not_waited_for_are_missed(tmp_path: Path) -> None:
    seed = seed_that_parts_orders_from_the_bus()
    options = ("--seed", str(seed), "--seconds", str(SECONDS), "--rate", "15", "--faults", "partition")
    with copied_source() as root:
        for edit in select(["await-of-the-acknowledgement"])[0].edits:
            edit.apply(root)
        code, report, told = chaos(tmp_path, *options, environ={"PYTHONPATH": str(root / "src")})
    assert code == 1, told
    found = "\n".join(report["problems"])
    assert "not settled after" in found, told  # orders that payment-service never heard of
    assert "orders pending" in found, told
    kept = Path(report["folder"])
    assert (kept / "journal.jsonl").stat().st_size > 0
    assert (kept / "state/logs/order-1.log").exists()
    shutil.rmtree(kept)
