"""Time as a part that is handed in, so that a test can skew it and a domain rule never reads the wall clock."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

SKEW_READ_EVERY_S = 0.2
SKEW_MAX_S = 86_400.0


class Clock(Protocol):
    """Wall time for records, monotonic time for durations."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""
        ...

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary origin that never goes back."""
        ...


class SystemClock:
    """The machine's own clocks; `skew_s` shifts the wall clock (fault runs)."""

    def __init__(self, skew_s: float = 0.0) -> None:
        self._skew = timedelta(seconds=skew_s)

    def now(self) -> datetime:
        return datetime.now(UTC) + self._skew

    def monotonic_s(self) -> float:
        return time.monotonic()


class SkewedClock(SystemClock):
    """A clock that is wrong by what a file says, which is read again and again (fault runs; refused outside of dev).

    The file holds a number of seconds; a missing or an unreadable one counts as 0.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._read_at_s = -math.inf

    def now(self) -> datetime:
        if self.monotonic_s() - self._read_at_s > SKEW_READ_EVERY_S:
            self._read_at_s = self.monotonic_s()
            self._skew = timedelta(seconds=self._told())
        return super().now()

    def _told(self) -> float:
        try:
            seconds = float(self._path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0.0
        return seconds if abs(seconds) <= SKEW_MAX_S else 0.0


class ManualClock:
    """A clock that stands still until told to move."""

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._monotonic_s = 0.0

    def now(self) -> datetime:
        return self._now

    def monotonic_s(self) -> float:
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Move both clocks by `seconds`."""
        self._now += timedelta(seconds=seconds)
        self._monotonic_s += seconds
