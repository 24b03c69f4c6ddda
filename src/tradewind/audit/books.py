"""All books open at the same time, and what lies between them: the positions on the bus.

The databases are on different servers, so there is no one moment to look at all of them, and no clock to be trusted with
saying which of two things was first. What orders them is the bus. It is looked at twice, and every room in between:

    positions    how far each partition is written, and each consumer has read       (1)
    the rooms    each a snapshot of its own                                          (2)
    the bus      a snapshot                                                          (3)

What a consumer had read at (1) it had committed before (2). What a producer has committed at (2) is in its outbox there, or
on the bus at (3). So of whatever has neither a row in the outboxes of (2), nor a message on the bus of (3) behind the
positions of (1), every room shows the very same history, and may be compared. The rest is on its way: `motion.py` names it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from tradewind.audit.bus import Bus, Standing
from tradewind.audit.invariants import Limits
from tradewind.audit.look import Look
from tradewind.audit.sources import Charge
from tradewind.chassis.transport import Positions

BUS = "bus"
PAYMENT = "payment"

T = TypeVar("T")


class Listing(msgspec.Struct, frozen=True):
    """A provider's charges. `since`, by the clock of payment-service's database: what was settled before is in it."""

    provider: str
    charges: Sequence[Charge]
    since: datetime


class Books:
    """A look into every room and the bus, where everybody's positions were, and the provider's charges (None: not seen)."""

    def __init__(
        self,
        looks: Mapping[str, Look],
        bus: Bus,
        standing: Standing,
        *,
        listing: Listing | None,
        limits: Limits,
    ) -> None:
        self._looks = looks
        self._bus = bus
        self._read = standing.read
        self._asked: dict[object, asyncio.Future[Any]] = {}
        self.heads = standing.heads
        self.listing = listing
        self.limits = limits

    async def once(self, ask: Callable[[Books], Awaitable[T]]) -> T:
        """What `ask` finds in these books. It is asked once, however many want to know."""
        if ask not in self._asked:
            self._asked[ask] = asyncio.ensure_future(ask(self))
        found: T = await self._asked[ask]
        return found

    def __getitem__(self, room: str) -> Look:
        return self._looks[room]

    @property
    def bus(self) -> Look:
        """The bus, seen after all rooms."""
        return self._bus.look

    @property
    def databases(self) -> tuple[str, ...]:
        """The rooms with a database, and the bus if it has one of its own."""
        return (*self.rooms, *([BUS] if self._bus.is_ours else []))

    @property
    def rooms(self) -> tuple[str, ...]:
        """The rooms that have a database."""
        return tuple(room for room in self._looks if room != BUS)

    def read_by(self, group: str, topics: Collection[str]) -> Positions:
        """How far a consumer group had read in `topics` before the rooms were looked at; 0 where it never did."""
        known = self._read.get(group, {})
        return {place: known.get(place, 0) for place in self.heads if place[0] in topics}


@contextlib.asynccontextmanager
async def open_books(
    looks: Mapping[str, Look], bus: Bus, *, listing: Listing | None, limits: Limits
) -> AsyncIterator[Books]:
    """Freeze all looks, in the order that makes them comparable.

    Raises:
        Unavailable: a database is away, or the bus.
    """
    await bus.prepare()
    standing = await bus.standing()
    await asyncio.gather(*(look.freeze() for look in looks.values() if look is not bus.look))
    await bus.freeze()
    yield Books(looks, bus, standing, listing=listing, limits=limits)
