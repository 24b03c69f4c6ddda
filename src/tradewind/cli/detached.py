"""`tradewind up -d`: start the supervisor on its own, show what it tells, return once an order can be placed."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from tradewind.cli.reports import Report, already_running
from tradewind.stack.client import ask, running_supervisor
from tradewind.stack.errors import StackError
from tradewind.stack.logfiles import tail_text
from tradewind.stack.settings import StackSettings
from tradewind.stack.state import State

TIMED_OUT = 17
PROCESS_FAILED = 18
_INTERRUPT_WAIT_S = 60.0


def start_detached(state: State, settings: StackSettings, *, fresh: bool, timeout_s: float, report: Report) -> int:
    """Start and wait; return the exit code: 0 ready, 17 not ready in time, 18 a process keeps failing.

    After 17 and 18 it goes on trying, so that `tradewind ps` and `logs` can be used. Raises StackError when it refuses
    to start.
    """
    if running_supervisor(state) is not None:
        if fresh:
            raise StackError("it is running already, so its data stays", "tradewind down, then up --fresh")
        report(already_running(state))
        return _join(state, timeout_s, report)
    state.create()
    read_end, write_end = os.pipe()
    try:
        daemon = _daemon(state, settings, fresh=fresh, events_fd=write_end)
    finally:
        os.close(write_end)
    try:
        code = _follow(_events(read_end, timeout_s), state, report)
        return code if code is not None else _join(state, timeout_s, report)
    except KeyboardInterrupt:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(_INTERRUPT_WAIT_S)
        return 130
    finally:
        os.close(read_end)


def _daemon(state: State, settings: StackSettings, *, fresh: bool, events_fd: int) -> subprocess.Popen[bytes]:
    """The supervisor in a session of its own, its output in `supervisor.log`."""
    argv = [
        *(sys.executable, "-m", "tradewind.cli", "up"),
        *("--port", str(settings.port), "--tls-port", str(settings.tls_port), "--events-fd", str(events_fd)),
        *(["--fresh"] if fresh else []),
        *(flag for name, count in settings.scale.items() for flag in ("--scale", f"{name}={count}")),
    ]
    path = state.log("supervisor")
    path.touch(mode=0o600)
    with path.open("ab") as log:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=[events_fd],
            # Not as a flag: it may hold a password, and everybody sees the flags.
            env={
                **os.environ,
                "TRADEWIND_HOME": str(state.folder),
                "TRADEWIND_KAFKA": settings.kafka_url,
                "TRADEWIND_CONSUL": settings.consul_url,
            },
        )


def _follow(events: Iterator[dict[str, Any]], state: State, report: Report) -> int | None:
    """Show events until it is ready or failed; return the exit code, None when somebody else was quicker than we."""
    try:
        for event in events:
            match event["event"]:
                case "refused":
                    raise StackError(event["problem"], event["fix"])
                case "ready":
                    report(event)
                    return 0
                case "failing":
                    report(event)
                    _still_trying(report)
                    return PROCESS_FAILED
                case "already-running":
                    report(event)
                    return None
                case _:
                    report(event)
    except TimeoutError:
        report({"event": "notice", "text": "not ready in time; `tradewind ps` shows what it waits for"})
        _still_trying(report)
        return TIMED_OUT
    raise StackError("the supervisor ended by itself:\n" + tail_text(state.log("supervisor")))


def _join(state: State, timeout_s: float, report: Report) -> int:
    """Wait for one that is starting already."""
    try:
        return _follow(ask(state, timeout_s=timeout_s, verb="watch"), state, report) or 0
    except StackError:
        if running_supervisor(state) is not None:
            raise
        raise StackError("it was stopped meanwhile", "tradewind up -d") from None


def _still_trying(report: Report) -> None:
    report({"event": "notice", "text": "it goes on trying; stop it with `tradewind down`"})


def _events(descriptor: int, timeout_s: float) -> Iterator[dict[str, Any]]:
    """The events from the pipe until it closes. Raises TimeoutError `timeout_s` after the first call."""
    deadline = time.monotonic() + timeout_s
    pending = b""
    while True:
        readable, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not readable:
            raise TimeoutError
        chunk = os.read(descriptor, 65536)
        if not chunk:
            return
        *complete, pending = (pending + chunk).split(b"\n")
        for line in complete:
            yield msgspec.json.decode(line, type=dict[str, Any])
