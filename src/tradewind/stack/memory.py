"""Memory as PSS: what a process has for itself plus its share of what it shares, so that a sum over processes is true."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

_KB_PER_MB = 1024


def pss_mb(*pids: int) -> dict[int, float]:
    """PSS of each of `pids` with all its descendants (PostgreSQL's backends are its postmaster's), in MB; 0 for one that is gone.

    Reads the whole process table and every page map of the processes asked for: milliseconds each, so never call it in
    an event loop that somebody waits for.
    """
    children: dict[int, list[int]] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            children.setdefault(process.ppid(), []).append(process.pid)
    return {pid: round(sum(_pss_kb(each) for each in _family(pid, children)) / _KB_PER_MB, 1) for pid in pids}


def _family(pid: int, children: Mapping[int, Sequence[int]]) -> Iterator[int]:
    yield pid
    for child in children.get(pid, ()):
        yield from _family(child, children)


def _pss_kb(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    try:  # no smaps on this system: resident memory, which counts shared pages fully
        return int(psutil.Process(pid).memory_info().rss / 1024)
    except psutil.Error:
        return 0
