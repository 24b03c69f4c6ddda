"""One child process: started so that it cannot outlive us, watched without a thread.

Each child leads a session of its own (Ctrl-C at the terminal reaches only the supervisor, which then stops the children
in order) and asks the kernel for a signal when its parent dies, so that `kill -9` of the supervisor leaves nothing.
Measured: the request survives `unshare --user` and the exec that follows. It is not inherited by grandchildren, which
`leftovers.py` finds by the mark in their environment.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

MARK = "TRADEWIND_STACK"
"""Environment variable that every process of a stack carries: the path of its state folder."""

_PR_SET_PDEATHSIG = 1
_POLL_S = 0.02


class Child:
    """A running process. `pid` is the process itself: what execs in front of it (`unshare`) keeps the pid."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        self.pid = popen.pid

    @property
    def returncode(self) -> int | None:
        """Exit status as `subprocess` gives it (negative: killed by that signal), None while it runs."""
        return self._popen.poll()

    def send(self, signum: int) -> None:
        """Send `signum` to the process; nothing happens when it is gone already."""
        if self._popen.poll() is None:
            self._popen.send_signal(signum)

    def kill_session(self) -> None:
        """SIGKILL everything left in the child's process group: helpers it started and did not end."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return

    async def wait(self) -> int:
        """Wait for the end of the process, end what it left behind in its group, return its exit status."""
        try:
            pidfd = os.pidfd_open(self.pid) if hasattr(os, "pidfd_open") else -1
        except OSError:
            pidfd = -1
        if pidfd < 0:
            while (code := self._popen.poll()) is None:
                await asyncio.sleep(_POLL_S)
            return code
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(pidfd, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(pidfd)
            os.close(pidfd)
        self.kill_session()  # before the pid is reaped and may name somebody else's group
        return self._popen.wait()

    async def stop(self, signum: int = signal.SIGTERM, *, grace_s: float) -> int:
        """Ask with `signum`; after `grace_s` SIGKILL. Return the exit status."""
        self.send(signum)
        try:
            async with asyncio.timeout(grace_s):
                return await self.wait()
        except TimeoutError:
            self.send(signal.SIGKILL)
            self.kill_session()
            return await self.wait()


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    log: Path | None = None,
    death_signal: int = signal.SIGKILL,
    pass_fds: Collection[int] = (),
) -> Child:
    """Start `argv` with its output appended to `log` (default: discarded).

    `death_signal` is what the process gets when we die. Call it from the main thread: the kernel sends the signal when
    the *thread* that forked ends. Raises OSError when the program cannot be started.
    """
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if log else subprocess.DEVNULL
    try:
        popen = subprocess.Popen(
            list(argv),
            env=dict(env) if env is not None else None,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=pass_fds,
            preexec_fn=_die_with_parent(death_signal),  # noqa: PLW1509 - the supervisor has no threads
        )
    finally:
        if output != subprocess.DEVNULL:
            os.close(output)
    return Child(popen)


def _die_with_parent(signum: int) -> Callable[[], None] | None:
    """What the child does between fork and exec; None where the kernel has no such request (macOS)."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signum)
        if os.getppid() != parent:  # it died before we could ask
            os._exit(1)

    return ask
