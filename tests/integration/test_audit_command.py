"""`tradewind audit` outside of a stack: addresses from the environment, a report for people and one for programs, exit codes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from tests.integration.audit_lab import BUS, Lab
from tests.integration.audit_lab import lab as lab  # noqa: PLC0414 - a fixture
from tests.sandbox_process import API_KEY, Sandbox
from tradewind.audit.checks import CHECKS
from tradewind.audit.invariants import INVARIANTS
from tradewind.stack.ports import free_port

ONE_CENT = "UPDATE money_fact SET amount_minor = amount_minor - 1 WHERE order_id = '{confirmed}'"
ON_ITS_WAY = """
    INSERT INTO outbox (shard, event_id, topic, key, type, version, envelope)
    VALUES (0, gen_random_uuid(), 'order', '{confirmed}', 'order.noted.v1', 9, '')
"""


def run(home: Path, urls: Mapping[str, str], *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The verb, on these databases and with no stack in sight."""
    named = {"BUS_URL" if room == BUS else f"{room.upper()}_DATABASE_URL": url for room, url in urls.items()}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TRADEWIND_", "PAYMENT_"))}
    return subprocess.run(
        [sys.executable, "-m", "tradewind.cli", "audit", *words],
        env={**kept, **named, **more, "TRADEWIND_HOME": str(home)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_clean_report_for_people(lab: Lab, tmp_path: Path) -> None:
    done = run(tmp_path, lab.urls)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    for line, (name, sentence) in zip(lines, INVARIANTS.items(), strict=False):
        assert line == f"{name:<4} {sentence}: holds"
    assert lines[11] == "not checked: the provider's list of charges: no provider was named"
    assert lines[12].startswith("waited ")
    assert len(lines) == 13


async def test_a_report_for_programs(lab: Lab, tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path / "psp")
    await sandbox.start()
    try:
        provider = {"PAYMENT_SANDBOX_URL": sandbox.url, "PAYMENT_SANDBOX_API_KEY": API_KEY}
        done = run(tmp_path, lab.urls, "--format", "json", **provider)
    finally:
        await sandbox.close()
    report = msgspec.json.decode(done.stdout)
    assert done.stdout.count("\n") == 1
    assert report.keys() == {
        "clean", "complete", "settled", "waits_for", "left_out", "not_seen", "waited_s", "took_s", "check_s",
        "checked", "violations",
    }  # fmt: skip
    # That sandbox has charged nothing, so it does not know any of our captures.
    assert (done.returncode, report["clean"], report["settled"], report["complete"]) == (1, False, True, True)
    assert report["checked"] == dict.fromkeys(INVARIANTS, 0) | {"I2": len(report["violations"])}
    assert len(report["violations"]) == len(lab.charges) - 1  # one of them was undone
    assert report["check_s"].keys() == {name for name, _ in CHECKS}
    assert min(report["check_s"].values()) > 0
    assert {tuple(violation) for violation in report["violations"]} == {("invariant", "subject", "detail", "next_step")}


async def test_a_violation_is_named_with_what_to_do(lab: Lab, tmp_path: Path) -> None:
    async with lab.copies("analytics") as urls:
        await lab.spoil(urls["analytics"], ONE_CENT)
        done = run(tmp_path, {**lab.urls, **urls})
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    at = lines.index("I8   the analytics equal the ledger: violated once")
    assert (
        lines[at + 1]
        .strip()
        .startswith(f"order {lab.story['confirmed']}: the ledger has 2700 captured, 0 refunded EUR;")
    )
    assert "the ledger is the truth" in lines[at + 2]
    assert sum(line.endswith(": holds") for line in lines) == 10


async def test_streams_that_do_not_pass_are_a_wait_that_timed_out(lab: Lab, tmp_path: Path) -> None:
    async with lab.copies("order", "analytics") as urls:
        await lab.spoil(urls["order"], ON_ITS_WAY)
        done = run(tmp_path, {**lab.urls, **urls}, "--wait", "200ms")
        assert done.returncode == 17
        assert re.search(r"not settled after \d", done.stdout)
        assert "order-service: 1 of its events not published" in done.stdout
        await lab.spoil(urls["analytics"], ONE_CENT.replace("confirmed", "unsure"))
        done = run(tmp_path, {**lab.urls, **urls}, "--wait", "0")
        assert done.returncode == 1, "a violation counts for more"


async def test_a_long_wait_says_what_it_waits_for(lab: Lab, tmp_path: Path) -> None:
    async with lab.copies("order") as urls:
        await lab.spoil(urls["order"], ON_ITS_WAY)
        done = run(tmp_path, {**lab.urls, **urls}, "--wait", "3s")
    assert "waiting: order-service: 1 of its events not published" in done.stderr


def test_a_database_that_is_away_is_one_line(lab: Lab, tmp_path: Path) -> None:
    away = f"postgresql://user_service:x@127.0.0.1:{free_port()}/user_service"
    done = run(tmp_path, {**lab.urls, "user": away})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[0] == "tradewind: The database of user is away."
    assert len(done.stderr.splitlines()) == 2


def test_addresses_that_are_missing_are_named(lab: Lab, tmp_path: Path) -> None:
    done = run(tmp_path, {room: url for room, url in lab.urls.items() if room not in {"order", BUS}})
    assert done.returncode == 1
    assert "ORDER_DATABASE_URL, BUS_URL" in done.stderr


async def test_after_a_change_of_the_bus_it_is_told_since_when(lab: Lab, tmp_path: Path) -> None:
    async with lab.copies(BUS) as urls:
        await lab.spoil(urls[BUS], "DELETE FROM log", "UPDATE partition SET head = 0", "DELETE FROM consumer_offset")
        done = run(tmp_path, {**lab.urls, **urls})
        assert done.returncode == 1
        assert "never reached the bus" in done.stdout
        since = datetime.now(UTC).isoformat()
        assert run(tmp_path, {**lab.urls, **urls}, "--bus-since", since).returncode == 0
        assert run(tmp_path, {**lab.urls, **urls}, TRADEWIND_BUS_SINCE=since).returncode == 0
        long_ago = run(tmp_path, {**lab.urls, **urls}, "--bus-since", "2020-01-01T00:00:00Z")
        assert long_ago.returncode == 1


@pytest.mark.parametrize("since", ["yesterday", "2026-03-01", "2026-03-01T12:00:00"])
def test_a_wrong_time_is_wrong_usage(tmp_path: Path, since: str) -> None:
    done = run(tmp_path, {}, "--bus-since", since)
    assert done.returncode == 2
    assert "is no time with an offset" in done.stderr


@pytest.mark.parametrize("wait", ["soon", "-1s", "5w"])
def test_a_wrong_wait_is_wrong_usage(tmp_path: Path, wait: str) -> None:
    done = run(tmp_path, {}, "--wait", wait)
    assert done.returncode == 2
    assert "is no duration" in done.stderr
