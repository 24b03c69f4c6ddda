"""`tradewind down`."""

from __future__ import annotations

import contextlib
import os
import time

import click
import psutil

from tradewind.stack.client import ask, running_supervisor
from tradewind.stack.errors import StackError
from tradewind.stack.state import State

STOP_TIMEOUT_S = 60.0
_EXIT_WAIT_S = 5.0


@click.command()
@click.option("--volumes", is_flag=True, help="Delete the state folder too: all data, mail, logs and secrets.")
def down(volumes: bool) -> None:
    """Drain and stop, in reverse order. Data stays unless --volumes.

    Also after `kill -9` of `up` no process is left behind.
    """
    from tradewind.stack import leftovers

    state = State.of(os.environ)
    record = running_supervisor(state)
    if record is not None:
        _stop(state, record.pid)
    ended = leftovers.end(state) if state.exists else 0
    if ended:
        click.echo(f"ended {ended} processes that were left behind")
    if record is None and not ended:
        click.echo(f"nothing ran in {state.folder}")
    if volumes and state.folder.exists():
        state.remove()
        click.echo(f"deleted {state.folder}")


def _stop(state: State, pid: int) -> None:
    """Ask the supervisor to stop and wait until it is gone; one that does not answer is killed."""
    supervisor = psutil.Process(pid)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    with contextlib.suppress(StackError, TimeoutError, OSError):
        for event in ask(state, timeout_s=STOP_TIMEOUT_S, verb="down"):
            if event["event"] == "stopping":
                click.echo("stopping: draining, then in reverse order")
    try:
        supervisor.wait(max(_EXIT_WAIT_S, deadline - time.monotonic()))
        click.echo("stopped")
    except psutil.TimeoutExpired:
        click.echo(f"the supervisor (pid {pid}) does not stop; killing it", err=True)
        supervisor.kill()
        psutil.wait_procs([supervisor], timeout=_EXIT_WAIT_S)
