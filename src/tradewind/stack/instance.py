"""One supervised process through its whole life: waiting, starting, running, restarted when it ends, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
import traceback
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from tradewind.stack.errors import StackError
from tradewind.stack.gate import GATE, Gate
from tradewind.stack.process import Child, spawn
from tradewind.stack.unit import Launch, Unit

State = Literal["waiting", "starting", "running", "backoff", "draining", "stopped", "done"]

STARTING_POLL_S = 0.04
SLOW_POLL_S = 0.25
SLOW_AFTER_S = 15.0
RUNNING_POLL_S = 2.0
BACKOFF_FIRST_S = 0.25
BACKOFF_MAX_S = 5.0
HEALTHY_S = 5.0
"""A process that was ready this long starts again with the first, immediate restart."""
FAILING_AFTER = 3
"""Deaths in a row without having been ready, after which we say that something is wrong (and go on trying)."""


@dataclass(frozen=True, kw_only=True)
class Death:
    """The process ended by itself. `code` as in `subprocess`; `failures` in a row; the next start is in `pause_s`."""

    code: int
    failures: int
    pause_s: float


def backoff_s(failures: int) -> float:
    """Pause before the restart after `failures` deaths in a row: none, then doubling to 5 s. It never gives up."""
    if failures <= 1:
        return 0.0
    return min(BACKOFF_FIRST_S * 2.0 ** min(failures - 2, 16), BACKOFF_MAX_S)


class Instance:
    """A process under supervision. `identity` is its name towards the mesh, `slot` the one people use.

    The two differ only after a rolling restart: the second process of slot `order-1` is `order-1-2` to the registry,
    because for a while both are there.
    """

    def __init__(
        self,
        unit: Unit,
        slot: str,
        identity: str,
        *,
        log: Path,
        until_met: Callable[[Sequence[str]], Coroutine[Any, Any, None]],
        unmet: Callable[[Sequence[str]], list[str]],
        changed: Callable[[Instance, Death | None], None],
        predecessor: Instance | None = None,
    ) -> None:
        """`unmet` says which of the named units are not ready yet, `until_met` returns once they all are.

        `changed` hears of each change of state; together with a Death when the process ended by itself. `predecessor`
        is the instance this one replaces while it still runs; see `inherit`.
        """
        self.unit = unit
        self.slot = slot
        self.identity = identity
        self.state: State = "waiting"
        self.restarts = 0
        self.failures = 0
        self.launch: Launch | None = None
        self.log = log
        self.ready = asyncio.Event()
        self.ended = asyncio.Event()
        """Whether it was stopped and is gone."""
        self.created = 0.0
        """Start time of the process, seconds since the epoch."""
        self.loaded = asyncio.Event()
        """Whether a process that was started early has loaded its code."""
        self._predecessor = predecessor
        self._until_met = until_met
        self._unmet = unmet
        self._changed = changed
        self._child: Child | None = None
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Process id, None while no process runs."""
        return self._child.pid if self._child else None

    @property
    def waits_for(self) -> list[str]:
        """What keeps it from being ready, as far as the supervisor knows."""
        return self._unmet(self.unit.needs) if not self.ready.is_set() and not self._stopping.is_set() else []

    def start(self) -> None:
        """Begin; returns at once."""
        self._task = asyncio.create_task(self._live(), name=self.identity)

    def inherit(self) -> None:
        """The predecessor is gone: this is the slot's process from now on."""
        self._predecessor = None

    async def retire(self) -> None:
        """Let it end by itself, as its successor has told it to; `stop` it after its grace time."""
        self._stopping.set()
        self._set("draining")
        self.ready.clear()
        if self._child is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.unit.grace_s):
                    await self._child.wait()
        await self.stop()

    async def stop(self) -> None:
        """End it: the unit's stop signal, SIGKILL after its grace time. Returns when it is gone."""
        self._stopping.set()
        child = self._child
        if child is not None:
            self._set("draining")
            self.ready.clear()
            await child.stop(self.unit.stop_signal, grace_s=self.unit.grace_s)
        if self._task is not None:
            await self._task
        self.ended.set()
        self._set("stopped")

    def kill(self) -> None:
        """Hurry a `stop` that is under way."""
        if self._child is not None:
            self._child.send(self.unit.kill_signal)

    async def _live(self) -> None:
        while not self._stopping.is_set():
            code = await self._run_once()
            if self._stopping.is_set():
                return
            if self.unit.once and code == 0:
                self.ready.set()
                self._set("done")
                return
            self.failures += 1
            self.restarts += 1
            pause_s = backoff_s(self.failures)
            self._set("backoff", Death(code=code, failures=self.failures, pause_s=pause_s))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._stopping.wait()

    async def _run_once(self) -> int:
        """Start the process and stay with it until it ends; return its exit status (127: it could not be started)."""
        try:
            launch = self.launch = self._plan()
            if self._must_wait():
                await self._start_early(launch)
            if self.pid is None and not self._stopping.is_set():
                await launch.prepare()
                if not self._stopping.is_set():
                    self._spawn(launch)
        except Exception as error:  # whatever it is: this process is tried again, the others go on
            self._note(error)
            if self._child is None:
                return 127
            self._child.send(signal.SIGKILL)
        if (child := self._child) is None:
            return 0
        if not self._stopping.is_set():
            self._set("starting")
        watch = asyncio.create_task(self._watch(child, launch))
        code = await child.wait()
        watch.cancel()
        self._child = None
        self.ready.clear()
        return code

    def _plan(self) -> Launch:
        if self._predecessor is not None and self.unit.succeed is not None:
            return self.unit.succeed(self.identity, self._predecessor.identity)
        return self.unit.launch(self.identity)

    def _must_wait(self) -> bool:
        """Whether a need is not met, or the predecessor has to go first.

        Needs count before the first start only: once everything ran, a service copes by itself with a neighbour that is
        away.
        """
        needs = self.restarts == 0 and bool(self._unmet(self.unit.needs))
        return needs or (self._predecessor is not None and not self.unit.overlaps)

    def _note(self, error: Exception) -> None:
        """Put into the log of the process why it could not be started."""
        why = str(error) if isinstance(error, OSError | StackError) else "".join(traceback.format_exception(error))
        with contextlib.suppress(OSError), self.log.open("a", encoding="utf-8") as log:
            log.write(f"{why.rstrip()}\n")

    async def _start_early(self, launch: Launch) -> None:
        """Wait for the turn; a gated process loads its code meanwhile."""
        self._set("waiting")
        if not launch.gated:
            self._set_loaded()
            await self._until_turn()
            return
        await self._first_of(self._until_met(self.unit.loads_after))
        if self._stopping.is_set():
            return
        with contextlib.closing(Gate()) as gate:
            self._spawn(launch, gate.descriptor)
            gate.handed_over()
            loading = asyncio.create_task(self._load(gate))
            await self._until_turn()
            loading.cancel()
            # Its reader must be gone from the loop before the descriptor is: the next one gets the same number.
            await asyncio.gather(loading, return_exceptions=True)
            if not self._stopping.is_set():
                gate.open()

    async def _load(self, gate: Gate) -> None:
        await gate.loaded()
        if self._child is not None and self._child.returncode is None:
            self._set_loaded()

    def _set_loaded(self) -> None:
        self.loaded.set()
        self._changed(self, None)

    async def _until_turn(self) -> None:
        await self._first_of(self._until_met(self.unit.needs))
        if self._predecessor is not None and not self.unit.overlaps:
            await self._first_of(self._predecessor.ended.wait())

    def _spawn(self, launch: Launch, gate: int | None = None) -> None:
        self._child = spawn(
            launch.argv,
            env=launch.env if gate is None else {**launch.env, GATE: str(gate)},
            log=self.log,
            death_signal=self.unit.death_signal,
            pass_fds=[] if gate is None else [gate],
        )
        try:
            self.created = psutil.Process(self._child.pid).create_time()
        except psutil.Error:
            self.created = time.time()
        self._changed(self, None)

    async def _first_of(self, awaited: Coroutine[Any, Any, object]) -> None:
        """Wait for `awaited`, for a stop, or for the death of a process that waits at its gate."""
        waits: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(awaited),
            asyncio.ensure_future(self._stopping.wait()),
        ]
        if self._child is not None:
            waits.append(asyncio.ensure_future(self._child.wait()))
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)

    async def _watch(self, child: Child, launch: Launch) -> None:
        """Keep `ready` true to the process, and forget its earlier failures once it was well for a while."""
        well_since: float | None = None
        began = time.monotonic()
        while True:
            ok = await _asked(launch, child.pid)
            if self._stopping.is_set():
                return
            if ok and well_since is None:
                well_since = time.monotonic()
                self.ready.set()
                self._set("running")
            elif not ok and well_since is not None:
                well_since = None
                self.ready.clear()
                self._set("starting")
            if well_since is not None and time.monotonic() - well_since >= HEALTHY_S:
                self.failures = 0
            late = time.monotonic() - began > SLOW_AFTER_S
            await asyncio.sleep(RUNNING_POLL_S if ok else SLOW_POLL_S if late else STARTING_POLL_S)

    def _set(self, state: State, death: Death | None = None) -> None:
        if state != self.state or death is not None:
            self.state = state
            self._changed(self, death)


async def _asked(launch: Launch, pid: int) -> bool:
    """Whether the process says it is ready; a question that cannot be asked counts as no."""
    try:
        return await launch.ready(pid)
    except Exception:
        return False
