"""When a certificate is to be renewed: at half of its life."""

from __future__ import annotations

import asyncio
import time

LOOK_EVERY_S = 30.0
"""Between looks at the clock: a machine that slept finds out soon that its certificate is old."""


class HalfLife:
    """Counted from when the certificate was got, by the monotonic and by the wall clock, whichever is sooner.

    So a wall clock that is off renews no later, and neither does a monotonic one that stood still while the machine slept.
    """

    def __init__(self) -> None:
        self._ends_s = self._ends_wall_s = 0.0

    def begin(self, lifetime_s: float) -> None:
        """A certificate of `lifetime_s` was got just now."""
        self._ends_s, self._ends_wall_s = time.monotonic() + lifetime_s / 2, time.time() + lifetime_s / 2

    async def over(self) -> None:
        """Return once half of the life is over; at once where none was begun."""
        while (left_s := min(self._ends_s - time.monotonic(), self._ends_wall_s - time.time())) > 0:
            await asyncio.sleep(min(left_s, LOOK_EVERY_S))
