"""Open-loop load: requests leave at a fixed rate, whether or not earlier ones were answered.

A closed loop slows down with the platform it measures and so hides its worst moments (coordinated omission); here a
latency counts from the moment a request was due.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from tradewind.chassis.ids import new_id
from tradewind.traffic.client import Refused, Shop, Shopper


class Report(msgspec.Struct, kw_only=True):
    """What became of a run. Latencies are seconds from when each request was due."""

    rate_per_s: float
    seconds: float
    due: int = 0
    succeeded: int = 0
    failures: Counter[str] = msgspec.field(default_factory=Counter)
    latencies_s: list[float] = msgspec.field(default_factory=list)

    @property
    def success_ratio(self) -> float:
        """Share of all requests that were due and succeeded; a 429 is a failure."""
        return self.succeeded / self.due if self.due else 0.0

    def percentile_s(self, share: float) -> float:
        """The latency that `share` (0..1) of the successes stayed below; 0 without any."""
        ordered = sorted(self.latencies_s)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0


async def open_loop(request: Callable[[], Awaitable[None]], *, rate_per_s: float, seconds: float) -> Report:
    """Start `request` `rate_per_s` times a second for `seconds`, and wait for all of them."""
    report = Report(rate_per_s=rate_per_s, seconds=seconds)
    started_s = time.perf_counter()
    running: set[asyncio.Task[None]] = set()
    for number in range(int(rate_per_s * seconds)):
        due_s = started_s + number / rate_per_s
        ahead_s = due_s - time.perf_counter()
        if ahead_s > 0:
            await asyncio.sleep(ahead_s)
        report.due += 1
        task = asyncio.create_task(_one(request, due_s, report))
        running.add(task)
        task.add_done_callback(running.discard)
    if running:
        await asyncio.wait(running)
    return report


async def _one(request: Callable[[], Awaitable[None]], due_s: float, report: Report) -> None:
    try:
        await request()
    except Refused as exc:
        report.failures[f"{exc.status} {exc.code}"] += 1
    except Exception as exc:  # no answer at all
        report.failures[type(exc).__name__] += 1
    else:
        report.succeeded += 1
        report.latencies_s.append(time.perf_counter() - due_s)


class Orders:
    """Places orders of random articles as random shoppers, and remembers what was acknowledged."""

    def __init__(self, shop: Shop, shoppers: Sequence[Shopper], skus: Sequence[str], *, seed: int) -> None:
        self._shop = shop
        self._shoppers = shoppers
        self._skus = skus
        self._random = random.Random(seed)
        self.placed: list[tuple[Shopper, str]] = []

    async def place(self) -> None:
        """Place one order; a success is durable and listed in `placed`."""
        shopper = self._random.choice(self._shoppers)
        lines = [
            (sku, self._random.randint(1, 3)) for sku in self._random.sample(self._skus, self._random.randint(1, 3))
        ]
        order = await self._shop.place_order(shopper, lines, "pm_card_visa", key=new_id())
        self.placed.append((shopper, order["id"]))
