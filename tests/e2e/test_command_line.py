"""`tradewind up`, `ps` and `down` as somebody at a terminal knows them, also when things end badly."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from tests.e2e.customers import administrator, bought, newcomer, product
from tests.e2e.platforms import audit, new_platform, rows, until
from tradewind.bench.platform import Platform
from tradewind.traffic.client import Shopper, open_shop

ROOMS = ("gateway", "auth", "user", "order", "payment", "notification", "analytics")
ENGINES = ("postgres", "valkey", "envoy", "psp-sandbox")
ROW = {
    "name": str, "room": str, "pid": int, "state": str, "ready": bool, "restarts": int, "url": str, "memory_mb": float,
    "uptime_s": float, "waits_for": list,
}  # fmt: skip
GONE_WITHIN_S = 5.0


def run(platform: Platform, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """`tradewind WORDS`, whatever comes of it."""
    return subprocess.run(
        [sys.executable, "-m", "tradewind.cli", *words],
        env={**platform.environ, **environ}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@contextmanager
def foreground(platform: Platform) -> Iterator[subprocess.Popen[str]]:
    """`tradewind up` at a terminal of its own; its output is JSON lines."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tradewind.cli", "up", "--port", str(platform.port), "--format", "json"],
        env=platform.environ, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_for(process: subprocess.Popen[str], **wanted: Any) -> dict[str, Any]:
    """The next event that has everything in `wanted`."""
    assert process.stdout is not None
    for line in process.stdout:
        event: dict[str, Any] = msgspec.json.decode(line)
        if all(event.get(name) == value for name, value in wanted.items()):
            return event
    raise AssertionError(f"it ended with {process.wait()} before {wanted}")


def of_platform(platform: Platform) -> list[psutil.Process]:
    """Every process that has anything to do with the state folder: its command line, environment or working folder."""
    folder = str(platform.folder)
    found = []
    for process in psutil.process_iter():
        try:
            about = [*process.cmdline(), *process.environ().values(), process.cwd()]
            if process.status() != psutil.STATUS_ZOMBIE and any(folder in text for text in about):
                found.append(process)
        except psutil.Error:
            continue
    return found


def nothing_runs(platform: Platform) -> None:
    """Wait until none of them is left; AssertionError names those that are."""
    until(lambda: not of_platform(platform), f"{of_platform(platform)} to be gone", GONE_WITHIN_S)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Platform]:
    """A platform that was never started."""
    platform = new_platform(tmp_path)
    yield platform
    platform.down("--volumes")


async def buy(platform: Platform) -> tuple[Shopper, Any]:
    """A customer and her confirmed order."""
    async with open_shop(platform.url) as shop:
        ada = await newcomer(shop)
        return ada, await bought(shop, ada, await product(shop, await administrator(shop)))


async def still_has(platform: Platform, shopper: Shopper, order: Any) -> None:
    """The order is as it was, the token that was given out before is good, and so is the administrator's password."""
    async with open_shop(platform.url) as shop:
        assert await shop.order(shopper.token, order["id"]) == order
        await administrator(shop)


def test_ps_says_what_runs(platform: Platform) -> None:
    answer = msgspec.json.decode(platform.command("ps", "--format", "json"))
    listed = {row["name"]: row for row in answer["processes"]}
    assert {name for name, row in listed.items() if row["room"]} == {f"{room}-1" for room in ROOMS}
    assert set(ENGINES) <= listed.keys()
    for name, row in listed.items():
        for field, kind in ROW.items():
            assert isinstance(row[field], kind) or (field == "room" and row["room"] is None), f"{name}.{field}"
        assert (row["state"], row["ready"], row["waits_for"]) == ("running", True, []), name
        assert row["room"] or not name.startswith(ROOMS), f"the engine {name} looks like a room"
    for room in ROOMS:
        assert psutil.Process(listed[f"{room}-1"]["pid"]).cmdline()[-2:] == ["run", room]
    for engine, program in (("postgres", "postgres"), ("valkey", "valkey"), ("envoy", "envoy")):
        assert program in psutil.Process(listed[engine]["pid"]).name()
    order = listed["order-1"]
    pss_mb = psutil.Process(order["pid"]).memory_full_info().pss / 2**20
    assert order["memory_mb"] == pytest.approx(pss_mb, rel=0.2)


@pytest.mark.parametrize("words", [("up",), ("up", "-d"), ("up", "--port", "1")], ids=" ".join)
def test_a_second_up_says_so(platform: Platform, words: tuple[str, ...]) -> None:
    before = {name: row["pid"] for name, row in rows(platform).items()}
    second = run(platform, *words)
    assert (second.returncode, second.stderr) == (0, "")
    assert f"already running at {platform.url}" in second.stdout
    assert {name: row["pid"] for name, row in rows(platform).items()} == before


@pytest.mark.parametrize("detached", [(), ("-d",)], ids=["foreground", "detached"])
def test_a_taken_port_is_named_with_its_holder(fresh: Platform, detached: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", fresh.port)):
        refused = run(fresh, "up", "--port", str(fresh.port), *detached)
    assert refused.returncode == 1
    assert f"port {fresh.port} is taken by" in refused.stderr
    assert f"(pid {os.getpid()})" in refused.stderr
    assert "--port" in refused.stderr
    assert "Traceback" not in refused.stderr
    nothing_runs(fresh)
    assert not (fresh.folder / "postgres").exists(), "half of it was started"


@pytest.mark.parametrize("detached", [(), ("-d",)], ids=["foreground", "detached"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ORDER_POOL_SIZE", "abc"),
        ("ORDER_POOL_SIZE", "0"),
        ("LOG_LEVEL", "loud"),
        ("GATEWAY_RATE_AUTH_BURST", "0"),
        ("PAYMENT_PROVIDER", "monopoly"),
        ("NOTIFICATION_MAIL_TIMEOUT_S", "soon"),
        ("PSP_SANDBOX_LATENCY_MS", "-1"),
        ("TRADEWIND_PORT", "eighty"),
        ("TRADEWIND_POSTGRES_URL", "localhost"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_named(fresh: Platform, detached: tuple[str, ...], name: str, value: str) -> None:
    port = () if name == "TRADEWIND_PORT" else ("--port", str(fresh.port))
    refused = run(fresh, "up", *port, *detached, **{name: value})
    assert refused.returncode == 1, refused.stdout
    said = [line for line in refused.stderr.splitlines() if name in line]
    assert len(said) == 1, refused.stderr
    assert len(refused.stderr.splitlines()) <= 2, refused.stderr
    nothing_runs(fresh)
    assert not (fresh.folder / "postgres").exists(), "half of it was started"


@pytest.mark.parametrize(
    "words", [("upp",), ("up", "--scale", "order"), ("scale", "order"), ("up", "--no-such-flag"), ("run", "kitchen")], ids=" ".join
)  # fmt: skip
def test_wrong_usage_is_2(fresh: Platform, words: tuple[str, ...]) -> None:
    refused = run(fresh, *words)
    assert refused.returncode == 2
    assert "Error:" in refused.stderr
    assert not fresh.folder.exists()


async def test_kill_9_of_the_supervisor_loses_nothing(fresh: Platform) -> None:
    with foreground(fresh) as up:
        wait_for(up, event="ready")
        shopper, order = await buy(fresh)
        assert len(of_platform(fresh)) > 15
        up.kill()
        up.wait()
        nothing_runs(fresh)
    assert rows(fresh) == {}

    again = run(fresh, "up", "-d", "--timeout", "1", "--port", str(fresh.port))
    assert again.returncode == 17, again.stdout + again.stderr  # too early; it goes on
    joined = run(fresh, "up", "-d")
    assert joined.returncode == 0, joined.stdout + joined.stderr
    assert "already running" in joined.stdout
    await still_has(fresh, shopper, order)
    audit(fresh)
    memory = _shared_memory(fresh)
    assert memory
    fresh.down("--volumes")
    nothing_runs(fresh)
    assert not fresh.folder.exists()
    assert [path for path in memory if path.exists()] == []


async def test_ctrl_c_leaves_nothing_but_the_data(fresh: Platform) -> None:
    with foreground(fresh) as up:
        wait_for(up, event="process", name="postgres", ready=True)
        up.send_signal(signal.SIGINT)  # in the middle of the start
        wait_for(up, event="stopped")
        assert up.wait(30) == 130
    nothing_runs(fresh)
    with foreground(fresh) as up:
        wait_for(up, event="ready")
        shopper, order = await buy(fresh)
        up.send_signal(signal.SIGINT)
        wait_for(up, event="stopped")
        assert up.wait(30) == 130
    nothing_runs(fresh)
    fresh.up()
    await still_has(fresh, shopper, order)
    stopped = run(fresh, "down")
    assert stopped.returncode == 0
    nothing_runs(fresh)
    assert (fresh.folder / "postgres").exists()
    assert "nothing ran" in run(fresh, "down").stdout


def _shared_memory(platform: Platform) -> list[Path]:
    """What the platform's processes keep outside of its folder."""
    found: set[str] = set()
    for process in of_platform(platform):
        found |= {region.path for region in process.memory_maps() if region.path.startswith("/dev/shm/")}
    return [Path(path) for path in sorted(found)]
