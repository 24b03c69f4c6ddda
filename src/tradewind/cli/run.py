"""`tradewind run ROOM`: one service in the foreground. What a container runs, and what the supervisor runs."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

import click

from tradewind.stack.rooms import all_rooms


@click.command()
@click.argument("room")
def run(room: str) -> None:
    """Run the service ROOM in the foreground until SIGTERM, configured by environment only."""
    if room not in all_rooms():
        raise click.UsageError(f"there is no room {room!r}. Rooms: {', '.join(all_rooms())}")
    # To process 1 of a container the kernel delivers only signals that it handles, and loading the service takes a second.
    signal.signal(signal.SIGTERM, _leave)
    from tradewind.cli.serving import serve_room

    sys.exit(serve_room(room, os.environ))


def _leave(_number: int, _frame: FrameType | None) -> None:
    """Until the service takes over, there is nothing to drain."""
    sys.exit(0)
