"""A whole platform for tests: started, asked and stopped by the command line, as its user does it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.stand_in import all_gone
from tradewind.bench.platform import RATES_RAISED, Platform

ADMIN_EMAIL = "admin@example.test"
ADMIN_PASSWORD = "seventeen brass sextants"
DEFAULT_RATES = dict.fromkeys(RATES_RAISED, "")
"""Undoes what `Platform` raises: an empty variable counts as one that is not set."""

POLL_S = 0.05


def new_platform(folder: Path, environ: Mapping[str, str] | None = None) -> Platform:
    """A platform that is not started yet, with a known administrator; its state folder is `folder`/state."""
    known = {"TRADEWIND_ADMIN_EMAIL": ADMIN_EMAIL, "TRADEWIND_ADMIN_PASSWORD": ADMIN_PASSWORD}
    return Platform(folder / "state", {**known, **(environ or {})})


@contextlib.contextmanager
def running(folder: Path, environ: Mapping[str, str] | None = None) -> Iterator[Platform]:
    """A platform that takes orders; afterwards nothing is left of it."""
    platform = new_platform(folder, environ)
    try:
        platform.up()
        yield platform
    finally:
        platform.down("--volumes")


def audit(platform: Platform) -> None:
    """Check every invariant. Raises CommandFailed, which names each violation."""
    platform.command("audit", "--wait", "60s")


def rows(platform: Platform) -> dict[str, dict[str, Any]]:
    """What `tradewind ps` lists, by name."""
    return {row["name"]: row for row in platform.processes()}


def kill(platform: Platform, name: str) -> int:
    """`kill -9` of a process by its name; return the pid it had."""
    pid = int(rows(platform)[name]["pid"])
    os.kill(pid, signal.SIGKILL)
    assert all_gone([pid]) == []
    return pid


def until(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    """Poll until `condition()`; raises AssertionError with `what` had been waited for."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not after {timeout_s:.0f} s"
        time.sleep(POLL_S)


def until_ready(platform: Platform, name: str, *, other_than: int | None = None) -> dict[str, Any]:
    """The row of the process `name` once it is ready, with another pid than `other_than`."""
    found: dict[str, Any] = {}

    def ready() -> bool:
        found.update(rows(platform).get(name, {}))
        return bool(found.get("ready")) and found["pid"] != other_than

    until(ready, f"{name} to be ready again")
    return found
