"""Small processes that the supervisor's tests run in place of services."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tradewind.stack.process import MARK
from tradewind.stack.state import State
from tradewind.stack.unit import Launch, Unit

SERVES = """
import os, signal, sys, time
from pathlib import Path
note = Path(sys.argv[1])
from tradewind.stack.gate import wait_for_turn
wait_for_turn()
def leave(*_):
    time.sleep({drain_s})
    print("drained", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print("serving", flush=True)
note.write_text(str(os.getpid()))
while True:
    signal.pause()
"""
"""Says in the file of its argument that it is ready; drains on SIGTERM."""


def serving(
    state: State, name: str, *needs: str, room: str | None = None, gated: bool = False, drain_s: float = 0.0
) -> Unit:
    """A unit whose instances are ready once they have written their pid down."""
    return scripted(state, name, SERVES.format(drain_s=drain_s), *needs, room=room, gated=gated)


def scripted(
    state: State, name: str, script: str, *needs: str, room: str | None = None, gated: bool = False, once: bool = False
) -> Unit:
    """A unit that runs `script` with the path of its note as the argument; ready when its pid stands there."""

    def launch(identity: str) -> Launch:
        note = state.folder / f"{identity}.ready"

        async def ready(pid: int) -> bool:
            return note.exists() and note.read_text() == str(pid)

        return Launch(
            argv=(sys.executable, "-c", script, str(note)),
            env={MARK: str(state.folder)},
            ready=ready,
            gated=gated,
            ports=1,
            url=f"test://{identity}",
        )

    return Unit(name=name, room=room, launch=launch, needs=needs, overlaps=room is not None, once=once, grace_s=5.0)


async def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Wait for a condition, looking every 10 ms. Raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie has."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def all_gone(pids: list[int], timeout_s: float = 5.0) -> list[int]:
    """The pids that still run after `timeout_s`; returns as soon as there are none."""
    deadline = time.monotonic() + timeout_s
    left = pids
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left = [pid for pid in left if not gone(pid)]
    return left


def state_in(folder: Path) -> State:
    """A state folder for one test."""
    state = State(folder / "state")
    state.create()
    return state
