"""`tradewind down`."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import click
import psutil

from tradewind.stack.client import ask, running_supervisor
from tradewind.stack.errors import StackError
from tradewind.stack.hot_restart import forget_shared_memory
from tradewind.stack.leftovers import end_leftovers, wait_gone
from tradewind.stack.state import State

STOP_TIMEOUT_S = 60.0
LOCK_WAIT_S = 15.0
_EXIT_WAIT_S = 5.0
_POLL_S = 0.02


@click.command()
@click.option("--volumes", is_flag=True, help="Delete the state folder too: all data, mail, logs and secrets.")
def down(volumes: bool) -> None:
    """Drain and stop, in reverse order. Data stays unless --volumes.

    Also after `kill -9` of `up` no process is left behind.
    """
    state = State.of(os.environ)
    if not state.exists:
        click.echo(f"nothing ran in {state.folder}")
        return
    stopped = False
    deadline = time.monotonic() + LOCK_WAIT_S
    while (lock := state.lock()) is None:  # a supervisor is alive, or one is starting or being cleaned up just now
        if (record := running_supervisor(state)) is not None:
            _stop(state, record.pid)
            stopped = True
        elif time.monotonic() > deadline:
            raise StackError(f"somebody holds {state.folder / 'lock'}, but no supervisor answers", "try it again")
        time.sleep(_POLL_S)
    try:
        if ended := end_leftovers(state):
            click.echo(f"ended {ended} processes that were left behind")
        elif not stopped:
            click.echo(f"nothing ran in {state.folder}")
        if (record := state.supervisor()) is not None:  # it had no time to tidy up
            state.forget_run(Path(record.socket))
        forget_shared_memory(state.folder)
        if volumes:
            state.remove()
            click.echo(f"deleted {state.folder}")
    finally:
        lock.release()


def _stop(state: State, pid: int) -> None:
    """Ask the supervisor to stop and wait until it is gone; one that does not answer is killed."""
    try:
        supervisor = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return
    deadline = time.monotonic() + STOP_TIMEOUT_S
    with contextlib.suppress(StackError, TimeoutError, OSError):
        for event in ask(state, timeout_s=STOP_TIMEOUT_S, verb="down"):
            if event["event"] == "stopping":
                click.echo("stopping: draining, then in reverse order")
    if wait_gone(supervisor, max(_EXIT_WAIT_S, deadline - time.monotonic())):
        click.echo("stopped")
        return
    click.echo(f"the supervisor (pid {pid}) does not stop; killing it", err=True)
    supervisor.kill()
    wait_gone(supervisor, _EXIT_WAIT_S)
