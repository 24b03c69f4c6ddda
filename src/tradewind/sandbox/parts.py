"""What the use cases of the sandbox work with; `app.py` puts it together."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from tradewind.chassis.clock import Clock
from tradewind.sandbox.conditions import Conditions
from tradewind.sandbox.courier import Courier
from tradewind.sandbox.database import Database


@dataclass(frozen=True, slots=True)
class Parts:
    """What the use cases work with. `courier` is None when no webhook address is set: then no webhook is queued."""

    database: Database
    clock: Clock
    conditions: Conditions
    courier: Courier | None
    seed: int
    public_url: str
    # Set when a refund was made that stays pending for a while.
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    # By reference: the webhook that the answer of a call waits for.
    ahead: dict[str, str] = field(default_factory=dict)


async def latency(parts: Parts) -> None:
    """The time that a change takes at least."""
    if parts.conditions.latency_ms:
        await asyncio.sleep(parts.conditions.latency_ms / 1000)
