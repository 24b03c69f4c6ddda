"""What a crashed stack left running, found and ended.

Three ways to recognise a process as ours, because each misses some: the pid and start time written down by the
supervisor; the mark in its environment, which grandchildren inherit; its working folder, by which PostgreSQL's backends
(they overwrite their environment with their title) are known.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import psutil

from tradewind.stack.postgres import DEATH_SIGNAL
from tradewind.stack.process import MARK
from tradewind.stack.state import State

_FAST_S = 5.0
_KILLED_S = 3.0
_POLL_S = 0.02
_SAME_START_S = 1.5
"""psutil derives start times from a boot time that it may round anew in each process."""


def find_leftovers(state: State) -> list[psutil.Process]:
    """Running processes of this state folder, without us, the supervisor and our ancestors."""
    recorded = {record.pid: record.created for record in state.processes()}
    ourselves = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return [
        process
        for process in psutil.process_iter(["status", "create_time"])
        if process.pid not in ourselves and not gone(process) and _is_ours(process, state.folder, recorded)
    ]


def end_leftovers(state: State) -> int:
    """End what `find_leftovers` finds: PostgreSQL is told to end at once, the rest is killed. Return how many there were.

    Blocking, at most 8 s.
    """
    found = find_leftovers(state)
    postmasters = {process.pid for process in found if _is_postmaster(process)}
    for process in found:
        with contextlib.suppress(psutil.Error):
            if process.pid in postmasters:
                process.send_signal(DEATH_SIGNAL)
            elif process.ppid() not in postmasters:  # a postmaster ends its backends itself
                process.kill()
    deadline = time.monotonic() + _FAST_S
    left = found
    while left and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        left = [process for process in left if not gone(process)]
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    for process in left:
        wait_gone(process, _KILLED_S)
    return len(found)


def wait_gone(process: psutil.Process, timeout_s: float) -> bool:
    """Wait for the end of a process that is not our child; False when it still runs after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not gone(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def gone(process: psutil.Process) -> bool:
    """Whether it has ended; a zombie, which only waits for its parent to look, has."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True


def _is_ours(process: psutil.Process, folder: Path, recorded: dict[int, float]) -> bool:
    created = recorded.get(process.pid)
    if created is not None and abs(process.info["create_time"] - created) < _SAME_START_S:
        return True
    try:
        if process.environ().get(MARK) == str(folder):
            return True
        return Path(process.cwd()) == (folder / "postgres").resolve()
    except (psutil.Error, OSError):
        return False


def _is_postmaster(process: psutil.Process) -> bool:
    try:
        return "-D" in process.cmdline() and Path(process.exe()).name == "postgres"
    except (psutil.Error, OSError):
        return False
