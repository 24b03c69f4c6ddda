"""Memory as PSS: what a process has for itself plus its share of what it shares, so that a sum over processes is true."""

from __future__ import annotations

from pathlib import Path

import psutil

_KB_PER_MB = 1024


def pss_mb(pid: int) -> float:
    """PSS of `pid` and all its descendants (PostgreSQL's backends are children of its postmaster), in MB; 0 when gone."""
    try:
        process = psutil.Process(pid)
        family = [pid, *(child.pid for child in process.children(recursive=True))]
    except psutil.Error:
        return 0.0
    return round(sum(_pss_kb(member) for member in family) / _KB_PER_MB, 1)


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
