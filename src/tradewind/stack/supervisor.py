"""The supervisor: starts the units as their needs allow, keeps them running, rolls and scales rooms, stops all in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from tradewind.stack import events, logfiles
from tradewind.stack.errors import StackError
from tradewind.stack.events import Event
from tradewind.stack.instance import FAILING_AFTER, Death, Instance
from tradewind.stack.state import ProcessRecord, State
from tradewind.stack.unit import MAX_INSTANCES, Unit, stop_order

ROLL_TIMEOUT_S = 60.0
SERVING_POLL_S = 0.03
HOUSEKEEPING_S = 2.0


class Supervisor:
    """Runs `units`. Every change is told to `tell`; `ready` is set once all run and `serving()` was true."""

    def __init__(
        self,
        state: State,
        units: Iterable[Unit],
        *,
        serving: Callable[[], Awaitable[bool]],
        tell: Callable[[Event], None] = lambda _event: None,
    ) -> None:
        self._state = state
        self._units = {unit.name: unit for unit in units}
        self._serving = serving
        self._tell = tell
        self._slots: dict[str, Instance] = {}
        self._arriving: dict[str, Instance] = {}
        self._generations: dict[str, int] = {}
        self._busy = {name: asyncio.Lock() for name in self._units}
        self._pulse = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self._started_at = time.monotonic()
        self.ready = asyncio.Event()
        self.stopped = asyncio.Event()
        self._stop_requested = asyncio.Event()

    # what runs

    @property
    def instances(self) -> list[Instance]:
        """All processes in the order of the topology, arriving replacements after those they replace."""
        order = {name: place for place, name in enumerate(self._units)}
        every = [*self._slots.values(), *self._arriving.values()]
        return sorted(every, key=lambda each: (order[each.unit.name], _number(each.slot), each.identity))

    def table(self) -> list[dict[str, Any]]:
        """The processes as `tradewind ps` shows them, but for their memory; a one-time task only until it is done."""
        shown = (each for each in self.instances if each.state != "done" and not self._waits_for_its_slot(each))
        return [self._row(each) for each in shown]

    def room_ready(self, name: str) -> bool:
        """Whether every instance of the unit `name` is ready; a unit scaled to none is."""
        return all(each.ready.is_set() for each in self._slots.values() if each.unit.name == name)

    # the whole

    def start(self) -> None:
        """Start everything; returns at once. `ready` tells when it is done."""
        for unit in self._units.values():
            for number in range(1, unit.instances + 1):
                self._open_slot(unit, unit.slot(number))
        self._tasks = [asyncio.create_task(self._become_ready()), asyncio.create_task(self._housekeeping())]

    def request_stop(self) -> None:
        """Ask for `stop`; whoever runs the supervisor awaits `stop_requested` and calls it."""
        self._stop_requested.set()

    async def stop_requested(self) -> None:
        """Return once somebody asked for the end."""
        await self._stop_requested.wait()

    async def stop(self, hurry: asyncio.Event | None = None) -> None:
        """Drain, then stop in reverse order of the needs. Setting `hurry` turns the rest into SIGKILL."""
        self._stopping = True
        self._tell(events.stopping())
        for task in self._tasks:
            task.cancel()
        hurry = hurry or asyncio.Event()
        await asyncio.gather(*(unit.drain() for unit in self._units.values()), return_exceptions=True)
        for wave in stop_order(self._units):
            leaving = [each for each in self.instances if each.unit.name in wave]
            await asyncio.gather(*(self._leave(each, hurry) for each in leaving))
        for unit in self._units.values():
            with contextlib.suppress(OSError):
                unit.afterwards()
        self._tell(events.stopped())
        self.stopped.set()

    # one room or process

    async def restart(self, name: str) -> list[str]:
        """Restart a room or a process; rooms roll, engines stop and start. Return the names of what was restarted.

        Raises StackError when there is no such thing or the new process does not become ready (the old one then stays).
        """
        chosen = self._named(name)
        unit = chosen[0].unit
        async with self._busy[unit.name]:
            for instance in chosen:
                await (self._roll(instance) if unit.overlaps else self._swap(instance))
        return [instance.slot for instance in chosen]

    async def scale(self, name: str, wanted: int) -> None:
        """Run `wanted` instances of the room: new ones are ready when this returns, spare ones have drained and ended."""
        unit = self._units.get(name)
        if unit is None or unit.room is None:
            raise StackError(f"there is no room {name!r}", f"rooms: {', '.join(self._rooms())}")
        if not unit.overlaps:
            raise StackError(f"{name} runs once", "it is the control plane; scale the rooms behind it")
        if not 0 <= wanted <= MAX_INSTANCES:
            raise StackError(f"{name}={wanted} is out of range", f"0 to {MAX_INSTANCES} instances")
        async with self._busy[unit.name]:
            present = sorted(
                (each for each in self._slots.values() if each.unit is unit), key=lambda e: _number(e.slot)
            )
            taken = {each.slot for each in present}
            free = (slot for number in range(1, MAX_INSTANCES * 2) if (slot := unit.slot(number)) not in taken)
            fresh = [self._open_slot(unit, next(free)) for _ in range(wanted - len(present))]
            await asyncio.gather(*(self._until_ready(each) for each in fresh))
            for spare in present[wanted:]:
                await spare.stop()
                del self._slots[spare.slot]
        self._write_down()

    # inside

    def _open_slot(self, unit: Unit, slot: str) -> Instance:
        generation = self._generations[slot] = self._generations.get(slot, 0) + 1
        identity = slot if generation == 1 or not unit.overlaps else f"{slot}-{generation}"
        instance = Instance(
            unit,
            slot,
            identity,
            log=self._state.log(slot),
            until_met=self._until_met,
            unmet=self._unmet,
            changed=self._changed,
            predecessor=self._slots.get(slot),
        )
        if slot in self._slots:
            self._arriving[identity] = instance
        else:
            self._slots[slot] = instance
        instance.start()
        return instance

    def _take_over(self, new: Instance) -> None:
        """Give the slot to its new process; the old one is gone."""
        self._arriving.pop(new.identity, None)
        self._slots[new.slot] = new
        new.inherit()
        self._write_down()

    async def _roll(self, old: Instance) -> None:
        """Start the replacement, wait until it takes requests, drain the old one, and give the slot to the new one."""
        new = self._open_slot(old.unit, old.slot)
        try:
            await self._until_ready(new)
            await (old.stop() if old.unit.succeed is None else old.retire())
        except BaseException:
            del self._arriving[new.identity]
            await new.stop()
            raise
        self._take_over(new)

    async def _swap(self, old: Instance) -> None:
        """Let the new process load its code, stop the old one, and only then let the new one start."""
        new = self._open_slot(old.unit, old.slot)
        try:
            await self._until(new, new.loaded, "loaded")
        except BaseException:
            del self._arriving[new.identity]
            await new.stop()
            raise
        await old.stop()
        self._take_over(new)
        await self._until_ready(new)

    async def _until_ready(self, instance: Instance) -> None:
        await self._until(instance, instance.ready, "ready")

    async def _until(self, instance: Instance, event: asyncio.Event, word: str) -> None:
        """Wait for an event of an instance; raises StackError with its last lines when it keeps ending, or in the end."""
        try:
            async with asyncio.timeout(ROLL_TIMEOUT_S):
                while not event.is_set():
                    if instance.failures >= FAILING_AFTER:
                        raise StackError(
                            f"{instance.slot} ended {instance.failures} times and is not {word}:\n"
                            + logfiles.tail_text(instance.log),
                            f"tradewind logs {instance.slot}",
                        )
                    self._pulse.clear()
                    await self._pulse.wait()
        except TimeoutError:
            raise StackError(
                f"{instance.slot} was not {word} after {ROLL_TIMEOUT_S:.0f} s", f"tradewind logs {instance.slot}"
            ) from None

    async def _leave(self, instance: Instance, hurry: asyncio.Event) -> None:
        gentle = asyncio.ensure_future(instance.stop())
        rushed = asyncio.ensure_future(hurry.wait())
        await asyncio.wait({gentle, rushed}, return_when=asyncio.FIRST_COMPLETED)
        rushed.cancel()
        if not gentle.done():
            instance.kill()
        await gentle

    def _waits_for_its_slot(self, instance: Instance) -> bool:
        """Whether it has the name of a process that still runs."""
        return self._slots.get(instance.slot) is not instance and not instance.unit.overlaps

    def _named(self, name: str) -> list[Instance]:
        chosen = [each for each in self._slots.values() if name in (each.slot, each.identity, each.unit.name)]
        if not chosen:
            raise StackError(f"nothing here is called {name!r}", f"names: {', '.join(sorted(self._slots))}")
        return sorted(chosen, key=lambda each: _number(each.slot))

    def _rooms(self) -> list[str]:
        return [name for name, unit in self._units.items() if unit.room is not None]

    def _unmet(self, needs: Sequence[str]) -> list[str]:
        return [need for need in needs if need in self._units and not self.room_ready(need)]

    async def _until_met(self, needs: Sequence[str]) -> None:
        while self._unmet(needs):
            self._pulse.clear()
            await self._pulse.wait()

    async def _become_ready(self) -> None:
        while not all(self.room_ready(name) for name in self._units):
            self._pulse.clear()
            await self._pulse.wait()
        while not await self._serving():
            await asyncio.sleep(SERVING_POLL_S)
        self.ready.set()
        self._tell(events.ready(time.monotonic() - self._started_at))

    async def _housekeeping(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            with contextlib.suppress(OSError):
                logfiles.rotate(self._state.logs)

    def _changed(self, instance: Instance, death: Death | None) -> None:
        self._pulse.set()
        self._write_down()
        self._tell(events.process(self._row(instance), death))
        if death is not None and death.failures == FAILING_AFTER and not self._stopping:
            self._tell(events.failing(instance.slot, instance.log))

    def _write_down(self) -> None:
        """Keep `processes.json` and `ports.json` true. A full disk must not stop the supervisor."""
        with contextlib.suppress(OSError):
            self._write_files()

    def _write_files(self) -> None:
        running = [each for each in self.instances if each.pid is not None]
        self._state.write_processes(
            [ProcessRecord(name=each.slot, pid=each.pid or 0, created=each.created) for each in running]
        )
        self._state.write_ports(
            {each.slot: each.launch.ports for each in running if each.launch and each.launch.ports is not None}
        )

    def _row(self, instance: Instance) -> dict[str, Any]:
        running = instance.pid is not None
        return {
            "name": instance.identity if instance.identity in self._arriving else instance.slot,
            "room": instance.unit.room,
            "pid": instance.pid,
            "state": instance.state,
            "ready": instance.ready.is_set(),
            "restarts": instance.restarts,
            "url": instance.launch.url if instance.launch else "",
            "uptime_s": round(max(0.0, time.time() - instance.created), 1) if running else 0.0,
            "waits_for": instance.waits_for,
            "instance": instance.identity,
        }


def _number(slot: str) -> int:
    tail = slot.rpartition("-")[2]
    return int(tail) if tail.isdigit() else 0
