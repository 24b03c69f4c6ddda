"""Starting a process before its turn: it loads its code, says so, and waits. On two cores, imports are what start-up costs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Mapping

GATE = "TRADEWIND_GATE"
"""Environment variable with the descriptor of a socket: the process writes a byte when loaded, reads one for its turn."""


def wait_for_turn(environ: Mapping[str, str] = os.environ) -> None:
    """Say that the code is loaded and block until it is our turn; without a gate, return at once.

    Exits when the supervisor is gone or has changed its mind.
    """
    descriptor = environ.get(GATE, "")
    if not descriptor.isdigit():
        return
    with socket.socket(fileno=int(descriptor)) as gate:
        with contextlib.suppress(BrokenPipeError):  # our turn came while we loaded, and nobody listens any more
            gate.sendall(b"l")
        try:
            turn = gate.recv(1)
        except ConnectionResetError:
            turn = b""
    if not turn:
        sys.exit(0)


class Gate:
    """The supervisor's side. `descriptor` is the process's end, to be inherited by it."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)

    @property
    def descriptor(self) -> int:
        """The end the process inherits."""
        return self._theirs.fileno()

    def handed_over(self) -> None:
        """The process has its end; ours of it is closed, so that we see when the process goes."""
        self._theirs.close()

    async def loaded(self) -> None:
        """Return once the process has loaded its code, or has ended."""
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().sock_recv(self._ours, 1)

    def open(self) -> None:
        """It is the process's turn. Harmless when it has ended."""
        with contextlib.suppress(OSError):
            self._ours.send(b"g")

    def close(self) -> None:
        """Done. A process that still waits exits."""
        self._theirs.close()
        self._ours.close()
