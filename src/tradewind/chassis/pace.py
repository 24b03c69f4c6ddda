"""A pace for rounds of work: so many a second on average, a few at once after a quiet time.

What arrives meanwhile gathers for the next round. So a lone event is not held up, and the more there are the more share a
transaction. This is the generic cell rate algorithm (ITU-T I.371) with waiting in place of refusal.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

BURST = 2
"""Rounds beyond the first that may follow it at once: what one order makes by itself is not held up."""


class Pace:
    """One round in `gap_s`, and `burst` more after a quiet time."""

    def __init__(self, gap_s: float, *, burst: int = BURST, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._gap_s = gap_s
        self._ahead_s = burst * gap_s
        self._now_s = monotonic_s
        # When the rounds so far would be over, had they come in step.
        self._in_step_s = float("-inf")

    def mark(self) -> None:
        """A round that found something was begun."""
        self._in_step_s = max(self._in_step_s, self._now_s()) + self._gap_s

    @property
    def pause_s(self) -> float:
        """How long the next round has to wait; 0 where it need not."""
        return max(0.0, self._in_step_s - self._ahead_s - self._now_s())

    async def wait(self) -> None:
        """Return when the next round may begin."""
        pause_s = self.pause_s
        if pause_s > 0:
            await asyncio.sleep(pause_s)
