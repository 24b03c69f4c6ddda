"""The circuit of one neighbour by its name: its breaker, seen in the log, in the metrics and in readiness."""

from __future__ import annotations

from typing import Any

from tradewind.chassis.breaker import Breaker, State
from tradewind.chassis.errors import Unavailable
from tradewind.chassis.logs import get_logger
from tradewind.chassis.metrics import Metrics

FAILING_AFTER = 3
"""Calls that failed in a row, after which the neighbour counts as away, though the circuit may not have seen enough to open."""

log = get_logger(__name__)


class Circuit:
    """The breaker of `target`. A `breaker` given here is shared with whoever else holds it."""

    def __init__(self, target: str, metrics: Metrics, breaker: Breaker | None = None, **limits: Any) -> None:
        """`limits` are those of `Breaker`."""
        self.target = target
        self.breaker = breaker or Breaker(on_change=self._log_change, **limits)
        metrics.watch("circuit_state", "0 closed, 1 half-open, 2 open.", lambda: self.breaker.state, {"target": target})

    async def check(self) -> None:
        """For `Readiness.prefer`. Looks and calls nobody: what the latest calls said is what counts.

        Raises:
            Unavailable: `circuit-open`, `circuit-half-open` or, with the circuit still closed, `failing`.
        """
        state = self.breaker.state
        if state is not State.CLOSED:
            code = "circuit-open" if state is State.OPEN else "circuit-half-open"
            raise Unavailable(code, f"{self.target} is failing and is left alone for now.")
        if self.breaker.failures_in_a_row >= FAILING_AFTER:
            raise Unavailable("failing", f"{self.target} did not answer the last calls.")

    def _log_change(self, state: State) -> None:
        log.warning("a circuit changed", target=self.target, state=state.name.lower())
