"""A circuit breaker: when most calls to a neighbour fail, stop calling for a while, then try with a few.

closed     calls pass; outcomes are counted over a sliding window
open       no call passes, for `open_s`
half-open  `probes` calls pass; all must succeed to close it, one failure opens it again
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import IntEnum

SLICES = 10


class State(IntEnum):
    """The states, in the order a metric shows them as."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Permit:
    """The right to make one call; tell it how the call went. Only the first word counts."""

    __slots__ = ("_breaker", "_era", "_told")

    def __init__(self, breaker: Breaker, era: int) -> None:
        self._breaker = breaker
        self._era = era
        self._told = False

    def succeeded(self) -> None:
        """The neighbour answered as it should."""
        self._tell(True)

    def failed(self) -> None:
        """The neighbour is broken, slow or away."""
        self._tell(False)

    def abandoned(self) -> None:
        """We gave up for reasons of our own: this says nothing about the neighbour."""
        self._tell(None)

    def _tell(self, outcome: bool | None) -> None:
        if not self._told:
            self._told = True
            self._breaker._record(self._era, outcome)  # noqa: SLF001 - two halves of one thing


class Breaker:
    """One neighbour's circuit. Not for several threads."""

    def __init__(
        self,
        *,
        window_s: float = 10.0,
        least_calls: int = 10,
        failure_ratio: float = 0.5,
        open_s: float = 5.0,
        probes: int = 2,
        monotonic_s: Callable[[], float] = time.monotonic,
        on_change: Callable[[State], None] | None = None,
    ) -> None:
        """Opens when `failure_ratio` of at least `least_calls` calls within `window_s` failed."""
        self._window_s = window_s
        self._least_calls = least_calls
        self._failure_ratio = failure_ratio
        self._open_s = open_s
        self._probes = probes
        self._monotonic_s = monotonic_s
        self._on_change = on_change
        self._state = State.CLOSED
        # The era grows with each change of state: what a call from an earlier one reports no longer matters.
        self._era = 0
        self._opened_s = 0.0
        self._under_way = 0
        self._succeeded = 0
        self._slices: dict[int, list[int]] = {}
        self.failures_in_a_row = 0
        """The latest calls that failed, up to the last one that did not."""

    @property
    def state(self) -> State:
        """The state now; an open circuit turns half-open with the next call after its time."""
        return self._state

    def ask(self) -> Permit | None:
        """A permit to call, or None: do not call now."""
        if self._state is State.OPEN and self._monotonic_s() - self._opened_s >= self._open_s:
            self._change(State.HALF_OPEN)
        if self._state is State.OPEN:
            return None
        if self._state is State.HALF_OPEN:
            if self._under_way + self._succeeded >= self._probes:
                return None
            self._under_way += 1
        return Permit(self, self._era)

    def retry_after_s(self) -> float:
        """Seconds until an open circuit lets a call through; 0.0 when it is not open."""
        if self._state is not State.OPEN:
            return 0.0
        return max(0.0, self._opened_s + self._open_s - self._monotonic_s())

    def _record(self, era: int, outcome: bool | None) -> None:
        if outcome is not None:
            self.failures_in_a_row = 0 if outcome else self.failures_in_a_row + 1
        if era != self._era:
            return
        if self._state is State.HALF_OPEN:
            self._record_probe(outcome)
        elif outcome is not None:
            self._record_call(outcome)

    def _record_probe(self, outcome: bool | None) -> None:
        self._under_way -= 1
        if outcome is False:
            self._change(State.OPEN)
        elif outcome is True:
            self._succeeded += 1
            if self._succeeded >= self._probes:
                self._change(State.CLOSED)

    def _record_call(self, outcome: bool) -> None:
        number = int(self._monotonic_s() * SLICES / self._window_s)
        for old in [known for known in self._slices if known <= number - SLICES]:
            del self._slices[old]
        counts = self._slices.setdefault(number, [0, 0])
        counts[outcome] += 1
        failures = sum(counts[False] for counts in self._slices.values())
        calls = failures + sum(counts[True] for counts in self._slices.values())
        if calls >= self._least_calls and failures >= calls * self._failure_ratio:
            self._change(State.OPEN)

    def _change(self, state: State) -> None:
        self._state = state
        self._era += 1
        self._under_way = self._succeeded = 0
        self._slices.clear()
        if state is State.OPEN:
            self._opened_s = self._monotonic_s()
        if self._on_change is not None:
            self._on_change(state)
