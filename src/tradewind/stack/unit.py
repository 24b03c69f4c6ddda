"""What the supervisor runs, described: a unit is an engine, a room or a one-time task; a launch is one start of it."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_INSTANCES = 16


async def _nothing() -> None:
    return


async def _exited(_pid: int) -> bool:
    return False


@dataclass(frozen=True, kw_only=True)
class Launch:
    """Everything one start of a process takes.

    `ready(pid)` is asked every few milliseconds until it is true, then every second or two. `prepare` runs before the start.
    `ports` is the entry in `ports.json`. `gated`: the process may start before what it needs is there; it loads its
    code, then waits for a byte on the descriptor `TRADEWIND_GATE` names.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    ready: Callable[[int], Awaitable[bool]] = _exited
    prepare: Callable[[], Awaitable[None]] = _nothing
    url: str = ""
    ports: Any = None
    gated: bool = False


@dataclass(frozen=True, kw_only=True)
class Unit:
    """An engine (`room` None), a room, or a task that runs once (`once`) and is done when it exits with 0.

    `needs` are ready before it starts, and are stopped after it; a gated launch starts to load once `loads_after` are
    ready. Where `overlaps`, a restart starts the new process beside the old one and stops that once the new one is ready;
    elsewhere the old one goes first. With `succeed` (identity of the new, of the old) the new one takes over from the old
    by itself and tells it to leave. Only rooms that overlap can be scaled. `drain` runs at the very start of a shutdown, `afterwards`
    at its end. `kill_signal` is for a stop in a hurry, `death_signal` comes from the
    kernel when the supervisor dies.
    """

    name: str
    launch: Callable[[str], Launch]
    needs: tuple[str, ...] = ()
    loads_after: tuple[str, ...] = ()
    room: str | None = None
    instances: int = 1
    once: bool = False
    overlaps: bool = False
    succeed: Callable[[str, str], Launch] | None = None
    stop_signal: int = signal.SIGTERM
    kill_signal: int = signal.SIGKILL
    death_signal: int = signal.SIGKILL
    grace_s: float = 10.0
    drain: Callable[[], Awaitable[None]] = field(default=_nothing)
    afterwards: Callable[[], None] = field(default=lambda: None)

    def slot(self, number: int) -> str:
        """Name of the instance `number` (from 1): rooms are numbered, engines are not."""
        return self.name if self.room is None else f"{self.name}-{number}"


def stop_order(units: Mapping[str, Unit]) -> list[list[str]]:
    """Waves of units to stop together: a unit stops once nothing that needs it runs any more."""
    left = dict(units)
    waves: list[list[str]] = []
    while left:
        needed = {need for unit in left.values() for need in unit.needs}
        wave = [name for name in left if name not in needed]
        if not wave:
            raise ValueError(f"units need each other in a circle: {', '.join(sorted(left))}")
        waves.append(wave)
        for name in wave:
            del left[name]
    return waves
