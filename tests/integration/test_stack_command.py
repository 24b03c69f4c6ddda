"""`tradewind` as a user has it: the real platform, started, looked at, changed, broken and stopped by the verbs."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.stand_in import all_gone
from tradewind.stack.ports import free_port

ROOMS = ["gateway", "auth", "user", "order", "payment", "notification", "analytics"]
ENGINES = ["postgres", "valkey", "envoy", "psp-sandbox", "mailbox"]
PS_FIELDS = {"name", "room", "pid", "state", "ready", "restarts", "url", "memory_mb", "uptime_s", "waits_for"}
START_TIMEOUT_S = 90


@dataclass
class Machine:
    """One state folder and its public port, and the `tradewind` command that works on them."""

    home: Path
    port: int = field(default_factory=free_port)
    environ: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, timeout_s: float = START_TIMEOUT_S) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tradewind.cli", *arguments],
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def foreground(self) -> subprocess.Popen[str]:
        """`tradewind up`, its events readable from stdout."""
        argv = [sys.executable, "-m", "tradewind.cli", "up", "--format", "json"]
        return subprocess.Popen(argv, env=self._environment(), stdout=subprocess.PIPE, text=True)

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "TRADEWIND_PORT": str(self.port), **self.environ, "TRADEWIND_HOME": str(self.home)}

    def processes(self) -> dict[str, dict[str, Any]]:
        listed = json.loads(self("ps", "--format", "json").stdout)["processes"]
        return {row["name"]: row for row in listed}

    def status(self, path: str = "/v1/products") -> int:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            return answer.status

    def everything(self) -> list[int]:
        """Pids of the supervisor and all its descendants."""
        supervisor = psutil.Process(json.loads((self.home / "supervisor.json").read_text())["pid"])
        return [supervisor.pid, *(child.pid for child in supervisor.children(recursive=True))]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A platform that runs, shared by the tests of this file."""
    machine = Machine(tmp_path_factory.mktemp("stack") / "state")
    started = machine("up", "-d", "--timeout", "60")
    try:
        assert started.returncode == 0, started.stdout + started.stderr
        yield machine
    finally:
        machine("down", "--volumes")


def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_it_is_ready_when_up_returns(machine: Machine) -> None:
    assert machine.status() == 200
    listed = machine.processes()
    assert {row["room"] for row in listed.values() if row["room"]} == set(ROOMS)
    assert set(ENGINES) <= listed.keys()
    for name, row in listed.items():
        assert row.keys() >= PS_FIELDS
        assert row["ready"], name
        assert row["memory_mb"] > 0
        assert psutil.pid_exists(row["pid"])
    assert "postgres" in psutil.Process(listed["postgres"]["pid"]).name()
    assert sum(row["memory_mb"] for row in listed.values()) < 900
    assert machine.home.stat().st_mode & 0o777 == 0o700
    assert json.loads((machine.home / "ports.json").read_text())["envoy"]["edge_port"] == machine.port


def test_a_second_up_says_so(machine: Machine) -> None:
    for arguments in (["up"], ["up", "-d"]):
        second = machine(*arguments)
        assert second.returncode == 0
        assert "already running" in second.stdout
    assert machine("up", "--fresh").returncode == 1


def test_the_logs_are_one_stream(machine: Machine) -> None:
    lines = machine("logs", "--format", "json").stdout.splitlines()
    records = [json.loads(line) for line in lines]
    assert {"postgres", "valkey", "order-1", "gateway-1"} <= {record["name"] for record in records}
    assert [record["ts"] for record in records] == sorted(record["ts"] for record in records)
    assert {json.loads(line)["name"] for line in machine("logs", "order", "--format", "json").stdout.splitlines()} == {
        "order-1"
    }
    assert machine("logs", "nobody").returncode == 1


def test_a_killed_service_comes_back(machine: Machine) -> None:
    before = machine.processes()["order-1"]
    os.kill(before["pid"], signal.SIGKILL)

    def back() -> bool:
        row = machine.processes()["order-1"]
        return bool(row["ready"]) and row["pid"] != before["pid"]

    until(back)
    assert machine.processes()["order-1"]["restarts"] == before["restarts"] + 1
    until(lambda: machine.status() == 200)


def test_a_killed_postgres_comes_back_with_its_data(machine: Machine) -> None:
    before = machine.processes()["postgres"]
    os.kill(before["pid"], signal.SIGKILL)
    until(lambda: machine.processes()["postgres"]["pid"] not in (None, before["pid"]))
    until(lambda: all(row["ready"] for row in machine.processes().values()))
    assert machine.processes()["postgres"]["url"] == before["url"]
    until(lambda: machine.status() == 200)


def test_restarting_and_scaling_lose_no_request(machine: Machine) -> None:
    stop, answers = threading.Event(), list[int | str]()

    def ask() -> None:
        while not stop.is_set():
            try:
                answers.append(machine.status())
            except OSError as error:
                answers.append(repr(error))
            time.sleep(0.02)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        first = machine.processes()["order-1"]["pid"]
        assert machine("scale", "order=2").returncode == 0
        assert {"order-1", "order-2"} <= machine.processes().keys()
        assert machine("restart", "order").returncode == 0
        assert machine.processes()["order-1"]["pid"] != first
        assert machine("restart", "order-2").returncode == 0
        for name in ("gateway", "envoy", "envoy"):
            before = machine.processes()
            assert machine("restart", name).returncode == 0
            assert machine.processes().keys() == before.keys()
        assert machine("scale", "order=1").returncode == 0
        assert "order-2" not in machine.processes()
    finally:
        stop.set()
        asking.join()
    assert len(answers) > 50
    assert set(answers) == {200}


def test_a_wrong_name_is_named(machine: Machine) -> None:
    wrong = machine("restart", "orders")
    assert wrong.returncode == 1
    assert "'orders'" in wrong.stderr
    assert machine("scale", "gateway=2").returncode == 1
    assert machine("scale", "order").returncode == 2


def test_migrations_are_up_to_date(machine: Machine) -> None:
    checked = machine("migrate", "--check")
    assert checked.returncode == 0, checked.stderr
    assert "order: up to date" in checked.stdout


def test_a_taken_port_is_named_with_its_holder(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        machine = Machine(tmp_path / "state", port=holder.getsockname()[1])
        for arguments in (["up"], ["up", "-d"]):
            refused = machine(*arguments)
            assert refused.returncode == 1
            assert f"port {machine.port} is taken by" in refused.stderr
            assert f"(pid {os.getpid()})" in refused.stderr
            assert "--port" in refused.stderr
        assert machine.processes() == {}


def test_kill_9_of_up_leaves_nothing_and_the_next_up_recovers(tmp_path: Path) -> None:
    long = tmp_path / ("long" * 30)  # its socket does not fit into an address
    machine = Machine(
        long, environ={"TRADEWIND_ADMIN_EMAIL": "a@example.test", "TRADEWIND_ADMIN_PASSWORD": "correct horse"}
    )
    try:
        assert machine("up", "-d").returncode == 0
        pids = machine.everything()
        assert len(pids) > 15
        os.kill(pids[0], signal.SIGKILL)
        assert all_gone(pids) == []
        assert machine("ps").returncode == 0
        with machine.foreground() as again:
            assert again.stdout is not None
            assert any('"event":"ready"' in line for line in again.stdout)
            assert machine.status() == 200
            pids = machine.everything()
            assert machine("down").returncode == 0  # nobody has looked after `up` meanwhile
            assert all_gone(pids, timeout_s=1.0) == []
        assert again.returncode == 0
        assert (long / "postgres").exists()
        assert machine("down", "--volumes").returncode == 0
        assert not long.exists()
    finally:
        machine("down", "--volumes")


def test_ctrl_c_drains_and_stops(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "state")
    up = machine.foreground()
    assert up.stdout is not None
    events = (json.loads(line) for line in up.stdout)
    shown = next(event for event in events if event["event"] == "administrator")
    assert next(event["event"] for event in events if event["event"] in ("ready", "failing")) == "ready"
    assert not [
        path for path in machine.home.rglob("*") if path.is_file() and shown["password"].encode() in path.read_bytes()
    ]
    pids = machine.everything()
    up.send_signal(signal.SIGINT)
    assert [event["event"] for event in events if event["event"] != "process"] == ["stopping", "stopped"]
    assert up.wait(30) == 130
    assert all_gone(pids, timeout_s=1.0) == []
    assert machine("ps").returncode == 0
