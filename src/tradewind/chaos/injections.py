"""How each kind of fault is done, and undone.

An injection first aims, which may take its time; then it strikes: what it does up to its first `await` happens in the same
instant in which the requests in flight were counted. It lasts, and heals.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from typing import Any

import aiohttp
import psutil

from tradewind.bench.platform import CommandFailed
from tradewind.chaos.disk import Ballast
from tradewind.chaos.ground import Ground, signal_all, whole
from tradewind.chaos.messages import redeliver
from tradewind.chaos.plan import BACKEND, KAFKA, SUPERVISOR, UNRULY_WEBHOOKS, Fault, Kind
from tradewind.chassis.errors import Unavailable
from tradewind.stack.errors import StackError

AIM_TIMEOUT_S = 10.0
POLL_S = 0.05
HEAL_TRIES = 100
HEAL_PAUSE_S = 0.2


class NotRun(Exception):
    """The fault cannot be made on this machine; why."""


class Injection:
    """Base: a fault that strikes once and needs no healing."""

    def __init__(self, ground: Ground, fault: Fault) -> None:
        self.ground = ground
        self.fault = fault
        self.pid: int | None = None
        self.note = ""
        """What a reader of the report should know beside."""

    async def aim(self) -> None:
        """Find the target.

        Raises:
            NotRun: there can be none here.
            TimeoutError: it should be there and is not.
        """

    async def strike(self) -> None:
        """Do it."""
        raise NotImplementedError

    async def heal(self) -> None:
        """Undo it."""

    def over(self) -> bool:
        """Whether the platform has noticed: what was killed has a successor."""
        return True

    async def _aim_at(self, name: str) -> psutil.Process:
        async with asyncio.timeout(AIM_TIMEOUT_S):
            while (process := self.ground.process(name)) is None:
                await asyncio.sleep(POLL_S)
        self.pid = process.pid
        return process


class Kill(Injection):
    """SIGKILL; the supervisor starts again what dies, and we the supervisor."""

    async def aim(self) -> None:
        self._process = await self._aim_at(self.fault.target)

    async def strike(self) -> None:
        os.kill(self._process.pid, signal.SIGKILL)

    async def heal(self) -> None:
        if self.fault.target == SUPERVISOR:
            await self.ground.up()
        if self.fault.target == KAFKA and self.ground.broker is not None:
            await self.ground.broker.kill()  # take notice that it is dead
            await self.ground.broker.start()

    def over(self) -> bool:
        if self.fault.target == BACKEND:  # nobody takes its place
            return True
        successor = self.ground.process(self.fault.target)
        return successor is not None and successor.pid != self.pid


class Stop(Injection):
    """SIGSTOP, for a process with all its children, then SIGCONT: to the others it is there and says nothing."""

    async def aim(self) -> None:
        self._frozen = await self._aim_at(self.fault.target)

    async def strike(self) -> None:
        # Not the supervisor's children: these are the platform.
        self._all = [self._frozen] if self.fault.target == SUPERVISOR else whole(self._frozen)
        signal_all(self._all, signal.SIGSTOP)

    async def heal(self) -> None:
        signal_all(self._all, signal.SIGCONT)


class Restart(Injection):
    """`tradewind restart NAME`: rooms roll, engines stop and start."""

    async def strike(self) -> None:
        try:
            await self.ground.restart(self.fault.target)
        except StackError as error:
            raise NotHealed(f"the restart failed: {error}") from error


class Partition(Injection):
    """The proxy on one way passes nothing, or refuses."""

    async def strike(self) -> None:
        proxy = self.ground.links[self.fault.target]
        proxy.stall() if self.fault.mode == "stall" else proxy.refuse()

    async def heal(self) -> None:
        await self.ground.links[self.fault.target].heal()


class Delay(Injection):
    """Each chunk on one way comes late."""

    async def strike(self) -> None:
        self.ground.links[self.fault.target].delay(self.fault.amount / 1000)

    async def heal(self) -> None:
        await self.ground.links[self.fault.target].heal()


class Reset(Injection):
    """All connections of one way are cut, and those made meanwhile in the middle of something."""

    async def strike(self) -> None:
        self.ground.links[self.fault.target].cut_after(self.fault.amount)

    async def heal(self) -> None:
        await self.ground.links[self.fault.target].heal()


class Messages(Injection):
    """Events that were delivered are delivered again, in another order: at least once is what a bus promises."""

    async def strike(self) -> None:
        try:
            count = await redeliver(self.ground.bus_url, self.fault.target, self.fault.amount)
        except Unavailable as error:
            raise NotHealed(f"the bus took no messages: {error.detail}") from error
        self.note = f"{count} events again"


class Provider(Injection):
    """The provider's weather: an outage, or webhooks that are late, doubled and out of order."""

    weather: Mapping[str, Any]
    fair: Mapping[str, Any]

    async def aim(self) -> None:
        process = await self._aim_at("psp-sandbox")
        self.pid = process.pid

    async def strike(self) -> None:
        await self._change(self.weather)

    async def heal(self) -> None:
        await self._change(self.fair)

    async def _change(self, conditions: Mapping[str, Any]) -> None:
        for _ in range(HEAL_TRIES):  # it may be just starting again
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError, KeyError):
                await self.ground.provider(**conditions)
                return
            await asyncio.sleep(HEAL_PAUSE_S)
        raise NotHealed("the provider's control does not answer")


class Outage(Provider):
    """It is away."""

    def __init__(self, ground: Ground, fault: Fault) -> None:
        super().__init__(ground, fault)
        self.weather = {"outage_s": fault.seconds, "outage_mode": fault.mode}
        self.fair = {"outage_s": 0}


class Webhooks(Provider):
    """All webhooks twice, late and shuffled."""

    def __init__(self, ground: Ground, fault: Fault) -> None:
        super().__init__(ground, fault)
        self.weather = {
            "webhook_double_percent": 100,
            "webhook_shuffle": True,
            "webhook_delay_ms": fault.amount,
        }
        self.fair = {"webhook_double_percent": 5, "webhook_shuffle": False, "webhook_delay_ms": 0}


class Unruly(Provider):
    """Every second call, or every second webhook, goes wrong in one way."""

    def __init__(self, ground: Ground, fault: Fault) -> None:
        super().__init__(ground, fault)
        calls = ("webhook",) if fault.mode in UNRULY_WEBHOOKS else ("charge", "capture", "confirm", "cancel", "refund")
        rules = [{"on": call, "every": 2, "do": fault.mode} for call in calls]
        self.weather, self.fair = {"script": {"rules": rules}}, {"script": {"rules": []}}


class Skew(Injection):
    """The clock of one room jumps, and later jumps back."""

    async def strike(self) -> None:
        skew_file(self.ground, self.fault.target).write_text(str(self.fault.amount))

    async def heal(self) -> None:
        skew_file(self.ground, self.fault.target).write_text("0")


class Disk(Injection):
    """The disk under PostgreSQL's data is full."""

    async def aim(self) -> None:
        ballast = Ballast(self.ground.folder / "postgres")
        if not ballast.possible:
            raise NotRun("PostgreSQL's data is not on a small disk of its own: mounting a tmpfs is not allowed here")
        self._ballast = ballast
        await self._aim_at("postgres")

    async def strike(self) -> None:
        self.note = f"{self._ballast.fill() // 2**20} MiB"

    async def heal(self) -> None:
        self._ballast.remove()


class NotHealed(Exception):
    """Something that should have gone well after or during a fault did not; what."""


INJECTIONS: Mapping[Kind, type[Injection]] = {
    "kill": Kill,
    "stop": Stop,
    "restart": Restart,
    "partition": Partition,
    "delay": Delay,
    "reset": Reset,
    "messages": Messages,
    "webhooks": Webhooks,
    "unruly": Unruly,
    "outage": Outage,
    "skew": Skew,
    "disk": Disk,
}

HEALING_FAILS = (NotHealed, CommandFailed, StackError, OSError)
"""What `heal` and `strike` may raise when the platform, not this program, is at fault."""


def skew_file(ground: Ground, room: str) -> Any:
    """Where a room reads how wrong its clock is."""
    return ground.folder / "clock" / room
