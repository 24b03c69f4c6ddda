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

MEET_TIMEOUT_S = 10.0
"""How long a fault waits for a request in flight."""
RECOVERY_TIMEOUT_S = 60.0
POLL_S = 0.1


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
        struck.in_flight = await self._sender.until_in_flight(MEET_TIMEOUT_S)
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
        if await self._well_again(over_s):
            struck.recovery_s = time.monotonic() - over_s
        else:
            self._problem(f"{struck.fault}: not well again after {RECOVERY_TIMEOUT_S:.0f} s")

    async def _well_again(self, over_s: float) -> bool:
        deadline_s = time.monotonic() + RECOVERY_TIMEOUT_S
        while time.monotonic() < deadline_s:
            if self._sender.last_success_began_s > over_s and await self._ground.ready():
                return True
            await asyncio.sleep(POLL_S)
        return False

    def _now_s(self) -> float:
        return round(time.monotonic() - self._began_s, 1)

    def _problem(self, sentence: str) -> None:
        self._report.problems.append(sentence)
        self._say(f"PROBLEM {sentence}")
