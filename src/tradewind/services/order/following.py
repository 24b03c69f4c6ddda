"""Who follows which order on this instance, and how they learn of news.

An order may be moved by any instance, and nothing is notified inside a transaction. So one look at the timelines, a few
times a second, asks about all orders that somebody follows here: one statement with an index probe for each. What this
instance commits itself wakes its followers at once. With no followers there is no look.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Collection, Iterator
from contextvars import Context

from tradewind.chassis import logs
from tradewind.chassis.alongside import end
from tradewind.chassis.errors import RateLimited, Unavailable
from tradewind.chassis.postgres import Database
from tradewind.services.order.store import orders as store

PER_PERSON = 20
RETRY_AFTER_S = 5.0
PAUSE_AFTER_ERROR_S = 1.0
_log = logs.get_logger("following")


class Follower:
    """One stream. It has told everything up to the entry `after`."""

    def __init__(self, order_id: str, after: int) -> None:
        self.order_id = order_id
        self.after = after
        self._news = asyncio.Event()

    def wake(self) -> None:
        """There may be news, or the stream should end."""
        self._news.set()

    async def wait(self, timeout_s: float) -> None:
        """Return when woken, or after `timeout_s`."""
        # A look too many costs little, news that are missed a whole heartbeat: so both ways lead to one.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        self._news.clear()


class Following:
    """All streams of this instance, `most` at most; `draining` is set when they are to end."""

    def __init__(self, database: Database, draining: asyncio.Event, *, look_every_s: float, most: int) -> None:
        self.draining = draining
        self._database = database
        self._look_every_s = look_every_s
        self._most = most
        self._followers: dict[str, set[Follower]] = {}
        self._people: Counter[str] = Counter()
        self._looking: asyncio.Task[None] | None = None

    @property
    def count(self) -> int:
        """How many streams are open."""
        return self._people.total()

    def admit(self, subject: str) -> None:
        """Refuse one stream too many.

        Raises:
            RateLimited: `too-many-streams`, of this person.
            Unavailable: `too-many-streams`, of all, or the instance is about to stop.
        """
        if self._people[subject] >= PER_PERSON:
            raise RateLimited(
                "too-many-streams", f"You follow {PER_PERSON} orders already.", retry_after_s=RETRY_AFTER_S
            )
        if self.count >= self._most or self.draining.is_set():
            raise Unavailable("too-many-streams", "Too many orders are followed here.", retry_after_s=RETRY_AFTER_S)

    @contextlib.contextmanager
    def follow(self, order_id: str, subject: str, after: int) -> Iterator[Follower]:
        """Be told of news about an order that come behind the entry `after`."""
        follower = Follower(order_id, after)
        self._followers.setdefault(order_id, set()).add(follower)
        self._people[subject] += 1
        if self._looking is None or self._looking.done():
            # In a context of its own: it looks for all who follow, and outlives the request that came first.
            loop = asyncio.get_running_loop()
            self._looking = loop.create_task(self._look(), name="following", context=Context())
        try:
            yield follower
        finally:
            self._people[subject] -= 1
            self._people += Counter()  # forgets who follows nothing any more
            self._followers[order_id].discard(follower)
            if not self._followers[order_id]:
                del self._followers[order_id]

    def wake(self, order_ids: Collection[str]) -> None:
        """This instance has moved these orders."""
        for order_id in self._followers.keys() & set(order_ids):
            self._wake(order_id)

    async def close(self) -> None:
        """Stop looking."""
        if self._looking is not None:
            await end(self._looking)

    async def _look(self) -> None:
        while self._followers:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._look_every_s):
                    await self.draining.wait()
            if self.draining.is_set():
                for order_id in self._followers:
                    self._wake(order_id)
                return
            told = {order_id: min(each.after for each in those) for order_id, those in self._followers.items()}
            try:
                for order_id in await store.list_moved(self._database, told):
                    self._wake(order_id)
            except Unavailable as exc:
                _log.warning("followers wait", code=exc.code)
                await asyncio.sleep(PAUSE_AFTER_ERROR_S)

    def _wake(self, order_id: str) -> None:
        for follower in self._followers.get(order_id, ()):
            follower.wake()
