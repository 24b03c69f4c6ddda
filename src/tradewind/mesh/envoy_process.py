"""Envoy as a child of this process: started, read, started again when it ends, taken along when we end.

Its error lines go to our own standard error as they are (they are JSON already), and those that say why an update was
refused are also handed on, since REST xDS has no other way to tell.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

import msgspec

from tradewind.chassis.alongside import alongside
from tradewind.chassis.logs import get_logger
from tradewind.mesh.xds import KINDS, Kind

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
HEALTHY_AFTER_S = 5.0
STOP_S = 8.0
MAX_LINE_BYTES = 256 * 1024
_PR_SET_PDEATHSIG = 1

_REFUSED = re.compile(r"/v3/discovery:(\w+) rejected: (.*)", re.DOTALL)
_log = get_logger(__name__)


class EnvoyProcess:
    """Keeps `command` running. `refused` is called with the kind of resource and Envoy's reason."""

    def __init__(self, command: Sequence[str], refused: Callable[[Kind, str], None]) -> None:
        self._command = tuple(command)
        self._refused = refused
        self._child: asyncio.subprocess.Process | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep Envoy running while the context lasts; it is gone when the context is left."""
        try:
            async with alongside(asyncio.create_task(self._keep_running(), name="envoy")):
                yield
        finally:
            await self._stop()

    async def _keep_running(self) -> None:
        pause_s = FIRST_PAUSE_S
        libc = ctypes.CDLL(None, use_errno=True)
        while True:
            started_s = time.monotonic()
            try:
                self._child = await asyncio.create_subprocess_exec(
                    *self._command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.PIPE,
                    limit=MAX_LINE_BYTES,
                    preexec_fn=partial(_die_with_parent, libc),
                )
                await self._read(self._child)
                _log.error("envoy ended", code=await self._child.wait())
            except OSError as exc:
                _log.error("envoy does not start", error=str(exc))
            if time.monotonic() - started_s > HEALTHY_AFTER_S:
                pause_s = FIRST_PAUSE_S
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _read(self, child: asyncio.subprocess.Process) -> None:
        lines = child.stderr
        while lines is not None:
            try:
                line = await lines.readline()
            except ValueError:
                continue  # longer than the limit; the reader has dropped it
            if not line:
                return
            sys.stderr.buffer.write(line)
            sys.stderr.buffer.flush()
            if refusal := refusal_in(line):
                self._refused(*refusal)

    async def _stop(self) -> None:
        child = self._child
        if child is None or child.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S):
                await child.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()


def refusal_in(line: bytes) -> tuple[Kind, str] | None:
    """The kind of resource and the reason, if this line of Envoy's log says that an update was refused."""
    try:
        found = _REFUSED.search(msgspec.json.decode(line, type=_Line).event)
    except msgspec.MsgspecError:
        return None  # the first lines of a start are not JSON yet
    kind = next((kind for kind in KINDS if found and kind == found[1]), None)
    return (kind, found[2]) if found and kind else None


class _Line(msgspec.Struct):
    event: str = ""


def _die_with_parent(libc: ctypes.CDLL) -> None:
    """Runs in the child before Envoy does: a parent killed by -9 must not leave a proxy behind (Linux)."""
    if sys.platform == "linux":
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
