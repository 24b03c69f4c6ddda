"""`tradewind up` itself: takes the state folder, cleans up after a crash, checks, runs the supervisor until told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime

import psutil

from tradewind.mesh.edge_certificate import ca_file
from tradewind.stack import events
from tradewind.stack.administrator import Administrator, administrator, remember
from tradewind.stack.control import Announcer, ControlDoor
from tradewind.stack.events import Event
from tradewind.stack.handed_in import require_consul, require_kafka
from tradewind.stack.leftovers import end_leftovers
from tradewind.stack.ports import holder_of, is_free, taken
from tradewind.stack.settings import StackSettings
from tradewind.stack.state import State, SupervisorRecord
from tradewind.stack.supervisor import Supervisor
from tradewind.stack.topology import Topology

INTERRUPTED = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
_PORT_WAIT_S = 3.0


class AlreadyRunning(Exception):
    """Another supervisor holds this state folder."""


class Host:
    """One run of a stack. `tell` hears every event."""

    def __init__(self, state: State, settings: StackSettings, tell: Callable[[Event], None]) -> None:
        self._state = state
        self._settings = settings
        self._announce = Announcer(tell)
        self.supervisor: Supervisor | None = None

    async def run(self, *, fresh: bool = False) -> int:
        """Run until `tradewind down` (exit code 0) or a signal (130, 143).

        Raises AlreadyRunning, and StackError when something is missing or in the way; nothing is left running then.
        """
        self._state.create()
        lock = self._state.lock()
        if lock is None:
            raise AlreadyRunning
        try:
            return await self._run(fresh=fresh)
        finally:
            lock.release()

    async def _run(self, *, fresh: bool) -> int:
        if ended := end_leftovers(self._state):
            self._announce(events.notice(f"ended {ended} processes that a crashed stack had left here"))
        if fresh:
            self._state.wipe()
            self._state.create()
            if self._settings.postgres_url:
                self._announce(
                    events.notice("TRADEWIND_POSTGRES_URL keeps its data: --fresh deletes only what is ours")
                )
        await self._require_port(self._settings.port, "--port")
        if self._settings.tls_port:
            await self._require_port(self._settings.tls_port, "--tls-port")
        await require_kafka(self._settings.kafka_url)
        await require_consul(self._settings.consul_url)
        if self._state.remember_bus(self._settings.kafka_url, datetime.now(UTC)):
            self._announce(
                events.notice("events travel on another bus than last time; what was not read there stays unread")
            )
        first = administrator(self._state, self._settings.environ)
        topology = Topology(self._settings, self._state, first.environment)
        supervisor = Supervisor(self._state, topology.units(), serving=topology.serving, tell=self._announcing(first))
        self.supervisor = supervisor
        door = ControlDoor(supervisor, self._announce, self._state.socket_path(), self._settings.url)
        signals = _Signals()
        async with door.open():
            self._state.write_supervisor(
                SupervisorRecord(
                    pid=os.getpid(),
                    created=psutil.Process().create_time(),
                    socket=str(door.path),
                    url=self._settings.url,
                    tls_url=self._settings.tls_url,
                    tls_ca_file=self._tls_ca_file(),
                    kafka_url=self._settings.kafka_url,
                )
            )
            supervisor.start()
            asked = asyncio.ensure_future(supervisor.stop_requested())
            interrupted = asyncio.ensure_future(signals.first.wait())
            await asyncio.wait({asked, interrupted}, return_when=asyncio.FIRST_COMPLETED)
            asked.cancel()
            interrupted.cancel()
            await supervisor.stop(signals.second)
            self._state.forget_run(door.path)
        return INTERRUPTED[signals.received] if signals.received else 0

    def _announcing(self, first: Administrator) -> Callable[[Event], None]:
        """Passes events on, and speaks of the administrator once auth-service has made it."""
        waiting = bool(first.password)

        def tell(event: Event) -> None:
            nonlocal waiting
            if waiting and event["event"] == "process" and event["room"] == "auth" and event["ready"]:
                waiting = False
                remember(self._state, first.email)
                if first.made:
                    self._announce(events.administrator(first.email, first.password))
            self._announce(event)

        return tell

    def _tls_ca_file(self) -> str:
        given = self._settings.environ.get("GATEWAY_TLS_CERT_FILE")
        if given or not self._settings.tls_port:
            return ""
        return str(ca_file(self._state.folder / "gateway" / "tls"))

    async def _require_port(self, port: int, flag: str) -> None:
        host = self._settings.host
        deadline = asyncio.get_running_loop().time() + _PORT_WAIT_S
        while not is_free(port, host):
            holder = holder_of(port)
            if holder.pid is not None or asyncio.get_running_loop().time() > deadline:
                raise taken(port, host, holder, flag)
            await asyncio.sleep(0.05)


class _Signals:
    """The first SIGINT, SIGTERM or SIGHUP asks for a drained stop, the second for a hurried one."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self.received: signal.Signals | None = None
        for number in INTERRUPTED:
            asyncio.get_running_loop().add_signal_handler(number, self._hear, number)

    def _hear(self, number: signal.Signals) -> None:
        if self.received is not None:
            self.second.set()
        self.received = self.received or number
        self.first.set()
