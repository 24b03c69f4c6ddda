"""What a stretch of time cost: CPU seconds by process, transactions by database."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
import psutil


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, of its living descendants, and of those it has reaped."""
    try:
        process = psutil.Process(pid)
        times = process.cpu_times()
        total = times.user + times.system + times.children_user + times.children_system
        for child in process.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                used = child.cpu_times()
                total += used.user + used.system
    except psutil.Error:
        return 0.0
    return float(total)


def cpu_by_name(processes: Sequence[Mapping[str, Any]], extra: Mapping[str, int]) -> dict[str, float]:
    """CPU seconds so far of the processes of `tradewind ps`, and of `extra` ones (name to pid)."""
    return {
        **{row["name"]: cpu_seconds(row["pid"]) for row in processes if row["pid"]},
        **{name: cpu_seconds(pid) for name, pid in extra.items()},
    }


async def transactions_by_database(admin_url: str) -> dict[str, int]:
    """Transactions committed so far, by database. The counts lag behind by up to a second."""
    connection = await asyncpg.connect(admin_url)
    try:
        rows = await connection.fetch(
            "SELECT datname, xact_commit FROM pg_stat_database WHERE datname IS NOT NULL AND datname NOT LIKE 'template%'"
        )
    finally:
        await connection.close()
    return {row["datname"]: row["xact_commit"] for row in rows if row["datname"] != "postgres"}


def difference(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What was added between two readings."""
    return {name: value - before.get(name, 0) for name, value in after.items()}
