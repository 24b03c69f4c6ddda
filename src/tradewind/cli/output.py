"""What several verbs print: the table of processes, durations, sizes, JSON lines."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import click
import msgspec

FORMAT = click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True)
"""The option every verb with a machine-readable answer has."""

COLUMNS = ("NAME", "ROOM", "PID", "STATE", "RESTARTS", "MEMORY", "UPTIME", "URL", "WAITS FOR")
_COLOURS = {
    "running": "green",
    "done": "green",
    "backoff": "red",
    "starting": "yellow",
    "draining": "yellow",
    "degraded": "yellow",
}

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


def seconds_of(text: str, option: str) -> float:
    """`500ms`, `30s`, `2m` or `1h` in seconds; anything else is wrong usage of `option`."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise click.BadParameter(f"{text!r} is no duration; 500ms, 30s, 2m and 1h are", param_hint=option)
    return float(found.group(1)) * _SECONDS[found.group(2)]


def json_line(value: object) -> str:
    """`value` as one line of JSON."""
    return msgspec.json.encode(value).decode()


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """A process as `COLUMNS` shows it."""
    return (
        row["name"],
        row["room"] or "",
        str(row["pid"] or ""),
        "degraded" if row.get("degraded") and row["state"] == "running" else row["state"],
        str(row["restarts"]),
        f"{row['memory_mb']:.0f} MB" if row.get("memory_mb") else "",
        duration(row["uptime_s"]) if row["pid"] else "",
        row["url"],
        ", ".join([*row["waits_for"], *row.get("degraded", ())]),
    )


def state_colour(state: str) -> str:
    """Colour of a state; red is for what needs somebody."""
    return _COLOURS.get(state, "white")


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines with columns of equal width."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def duration(seconds: float) -> str:
    """`42s`, `5m12s`, `3h07m`, `2d04h`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"
