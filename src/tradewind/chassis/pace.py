"""A pace for rounds of work: the first one after a quiet time starts at once, those that follow keep a distance.

What arrives meanwhile gathers for the next round. So a lone event is not held up, and the more there are the more share a
transaction.
"""

from __future__ import annotations

import asyncio
import time


class Pace:
    """At least `gap_s` from one `mark` to the end of the next `wait`."""

    def __init__(self, gap_s: float) -> None:
        self._gap_s = gap_s
        self._marked_s = float("-inf")

    def mark(self) -> None:
        """A round that found something starts now."""
        self._marked_s = time.monotonic()

    async def wait(self) -> None:
        """Return when the gap since the last mark is over; at once where it is."""
        pause_s = self._marked_s + self._gap_s - time.monotonic()
        if pause_s > 0:
            await asyncio.sleep(pause_s)
