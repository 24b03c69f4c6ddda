"""Keys whose first message failed: it waits for its next attempt, and what comes after it on the same key waits behind.

Everybody else goes on. Memory is bounded: a partition with `CROWDED` parked messages is not read until some have left.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime

from tradewind.chassis.attempts import Tally
from tradewind.chassis.consumer.verdict import RetryPolicy, Verdict, judge
from tradewind.chassis.transport import Delivered, Place

CROWDED = 200


@dataclass
class Parked:
    """One key. `attempts` are those that count, `failures` all; `due_s` is when (monotonic) the first message is tried."""

    messages: deque[Delivered]
    error: BaseException
    first_at: datetime
    last_at: datetime
    attempts: int = 0
    failures: int = 0
    hopeless: bool = False
    due_s: float = 0.0

    @property
    def head(self) -> Delivered:
        """The message that failed."""
        return self.messages[0]


@dataclass
class Parking:
    """All parked keys of one consumer."""

    policy: RetryPolicy
    _keys: dict[tuple[str, str], Parked] = field(default_factory=dict)
    _counts: Counter[Place] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self._keys)

    def queue(self, message: Delivered) -> bool:
        """Put `message` behind its key's, if that is parked; returns whether it was."""
        parked = self._keys.get((message.topic, message.key))
        if parked is None:
            return False
        parked.messages.append(message)
        self._counts[message.place] += 1
        return True

    def fail(
        self, message: Delivered, error: BaseException, *, at: datetime, now_s: float, tally: Tally | None = None
    ) -> Parked:
        """Note a failure of `message`: parks its key, or has it wait longer. `tally` is what is known from before, too."""
        parked = self._keys.get((message.topic, message.key))
        if parked is None:
            parked = self._keys[message.topic, message.key] = Parked(deque([message]), error, at, at)
            self._counts[message.place] += 1
        verdict = judge(error)
        parked.error, parked.last_at = error, at
        parked.failures += 1
        parked.attempts += verdict is not Verdict.LATER
        if tally is not None:
            parked.attempts = max(parked.attempts, tally.attempts)
            parked.failures = max(parked.failures, tally.failures)
            parked.first_at = min(parked.first_at, tally.first_at)
        parked.hopeless = verdict is Verdict.NEVER or parked.attempts >= self.policy.attempts
        parked.due_s = now_s if parked.hopeless else now_s + self.policy.pause_s(parked.failures)
        return parked

    def due(self, now_s: float) -> list[Parked]:
        """The keys whose time has come."""
        return [parked for parked in self._keys.values() if parked.due_s <= now_s]

    def next_due_s(self) -> float | None:
        """When the next key's time comes, if any is parked."""
        return min((parked.due_s for parked in self._keys.values()), default=None)

    def settle(self, parked: Parked) -> list[Delivered]:
        """The first message of a key is done with: the key is free again. Returns those that waited behind, in order."""
        head, *rest = parked.messages
        del self._keys[head.topic, head.key]
        self._counts[head.place] -= len(parked.messages)
        return rest

    def crowded(self) -> set[Place]:
        """Partitions to leave alone for now."""
        return {place for place, count in self._counts.items() if count >= CROWDED}

    def forget(self, places: Collection[Place]) -> None:
        """Drop what came from `places`: it is not ours any more."""
        for place in places:
            self._counts.pop(place, None)
        for key in [key for key, parked in self._keys.items() if parked.head.place in places]:
            del self._keys[key]
