"""The interventions that run, in memory and on disk: a control plane that restarts knows them, and when they end."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from tradewind.chassis.clock import Clock
from tradewind.chassis.ids import new_id
from tradewind.chassis.logs import get_logger
from tradewind.mesh.interventions import MAX_INTERVENTIONS, Intervention, Order, same_place
from tradewind.mesh.state_file import StateFile

_log = get_logger(__name__)


class TableFull(Exception):
    """No further intervention fits; see `MAX_INTERVENTIONS`."""


class InterventionTable:
    """Interventions by the time they end. Use it from one event loop; it takes no lock."""

    def __init__(self, file: StateFile, clock: Clock) -> None:
        self._file = file
        self._clock = clock
        self._listeners: list[Callable[[], None]] = []
        self._running = tuple(still_running(read_interventions(file), clock.now().timestamp()))

    def running(self) -> tuple[Intervention, ...]:
        """Those whose time is not over, the next to end first."""
        return tuple(still_running(self._running, self._clock.now().timestamp()))

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each change; from the event loop, it must not block."""
        self._listeners.append(listener)

    def begin(self, order: Order, *, set_by: str) -> Intervention:
        """Begin what `order` says, in place of one that is done to the same thing. It is on disk when this returns.

        Raises:
            TableFull: there are too many.
            OSError: it could not be written, so it does not begin: nobody could say when it ends after a restart.
        """
        now_s = self._clock.now().timestamp()
        begun = Intervention(
            id=new_id(),
            what=order.what,
            set_by=set_by,
            set_at=now_s,
            expires_at=now_s + order.for_s,
            reason=order.reason,
        )
        others = [each for each in self.running() if not same_place(each.what, order.what)]
        if len(others) >= MAX_INTERVENTIONS:
            raise TableFull(f"{MAX_INTERVENTIONS} interventions run")
        self._replace([*others, begun])
        return begun

    def end(self, intervention_id: str) -> Intervention | None:
        """End one now; None when it does not run.

        Raises:
            OSError: it could not be written, so it goes on.
        """
        running = self.running()
        ended = next((each for each in running if each.id == intervention_id), None)
        if ended is not None:
            self._replace([each for each in running if each is not ended])
        return ended

    def sweep(self) -> list[Intervention]:
        """Take out those whose time is over, and name them. They end even if that cannot be written."""
        running = self.running()
        over = [each for each in self._running if each not in running]
        if over:
            try:
                self._replace(running)
            except OSError as exc:
                _log.error("the interventions could not be saved", error=str(exc))
                self._take(running)
        return over

    def _replace(self, running: Iterable[Intervention]) -> None:
        ordered = tuple(sorted(running, key=lambda each: each.expires_at))
        self._file.write(msgspec.json.encode(ordered))
        self._take(ordered)

    def _take(self, running: tuple[Intervention, ...]) -> None:
        self._running = running
        for listener in self._listeners:
            listener()


def read_interventions(file: StateFile) -> tuple[Intervention, ...]:
    """What the file holds. One that is unreadable counts as empty, which is said: traffic then goes its usual way."""
    content = file.read()
    if content is None:
        return ()
    try:
        return msgspec.json.decode(content, type=tuple[Intervention, ...])
    except msgspec.MsgspecError as exc:
        _log.error("the interventions on disk are unreadable, none runs", error=str(exc))
        return ()


def still_running(interventions: Iterable[Intervention], now_s: float) -> list[Intervention]:
    """Those that end after `now_s`, seconds since the epoch."""
    return [each for each in interventions if each.expires_at > now_s]
