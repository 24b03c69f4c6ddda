"""Lets the waves of a plan break over a platform: each fault strikes with requests in flight, is healed, and recovered from."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from tradewind.chaos.ground import Ground
from tradewind.chaos.injections import HEALING_FAILS, INJECTIONS, Injection, NotRun
from tradewind.chaos.plan import Strike, Wave
from tradewind.chaos.report import Report, Struck, struck_line
from tradewind.chaos.sender import Sender

MEETS = 3
"""Requests in flight that a fault waits for; with none at all it fails the run."""
MEET_TIMEOUT_S = 10.0
RECOVERY_TIMEOUT_S = 60.0
POLL_S = 0.25


class Waves:
    """Strikes on one ground, beside one sender's traffic, into one report."""

    def __init__(self, ground: Ground, sender: Sender, report: Report, say: Callable[[str], None]) -> None:
        self._ground = ground
        self._sender = sender
        self._report = report
        self._say = say
        self._began_s = time.monotonic()

    async def run(self, waves: Sequence[Wave]) -> None:
        """All waves, one after the other."""
        for number, wave in enumerate(waves, 1):
            await asyncio.sleep(wave.pause_s)
            await asyncio.gather(*(self._strike(number, strike) for strike in wave.strikes))

    async def _strike(self, number: int, strike: Strike) -> None:
        await asyncio.sleep(strike.after_s)
        fault = strike.fault
        struck = Struck(wave=number, fault=fault)
        self._report.struck.append(struck)
        injection = INJECTIONS[fault.kind](self._ground, fault)
        try:
            await injection.aim()
        except NotRun as reason:
            struck.at_s = self._now_s()
            struck.not_run = str(reason)
        except TimeoutError:
            self._problem(f"{fault}: the target was not there")
        else:
            await self._through(injection, struck)
        self._say(struck_line(struck))

    async def _through(self, injection: Injection, struck: Struck) -> None:
        """Strike with something in flight, let it last, heal, wait until all is well."""
        struck.in_flight = await self._sender.until_in_flight(MEETS, MEET_TIMEOUT_S)
        # From here to the first `await` of `strike` nothing else runs: what is in flight now is what it meets.
        began_s, struck.at_s = time.monotonic(), self._now_s()
        struck.pid = injection.pid
        try:
            await injection.strike()
            await asyncio.sleep(max(0.0, struck.fault.seconds - (time.monotonic() - began_s)))
        except HEALING_FAILS as error:
            self._problem(f"{struck.fault}: {error}")
        struck.lasted_s = time.monotonic() - began_s
        over_s = time.monotonic() if struck.fault.seconds else began_s
        try:
            await injection.heal()
        except HEALING_FAILS as error:
            self._problem(f"{struck.fault}: healing failed: {error}")
        struck.note = injection.note
        if not struck.in_flight:
            self._problem(f"{struck.fault} met no request in flight in {MEET_TIMEOUT_S:.0f} s")
        missing = await self._until_well_again(injection, over_s)
        if missing:
            self._problem(f"{struck.fault}: not well again after {RECOVERY_TIMEOUT_S:.0f} s, because of {missing}")
        else:
            struck.recovery_s = time.monotonic() - over_s

    async def _until_well_again(self, injection: Injection, over_s: float) -> str:
        """Wait until everything is ready and a write that began after `over_s` succeeded; what kept us, if it lasts."""
        deadline_s = time.monotonic() + RECOVERY_TIMEOUT_S
        while True:
            missing = ", ".join(await self._ground.not_ready()) if injection.over() else injection.fault.target
            if not missing and self._sender.last_success_began_s > over_s:
                return ""
            if time.monotonic() > deadline_s:
                return missing or "writes that do not succeed"
            await asyncio.sleep(POLL_S)

    def _now_s(self) -> float:
        return round(time.monotonic() - self._began_s, 1)

    def _problem(self, sentence: str) -> None:
        self._report.problems.append(sentence)
        self._say(f"PROBLEM {sentence}")
