"""The `Subscription` of a member of a Kafka group: each call is a request to the member's thread."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection
from typing import Any

from tradewind.chassis.transport import Batch, Place, Positions
from tradewind.chassis.transport.kafka import client
from tradewind.chassis.transport.kafka.address import Address
from tradewind.chassis.transport.kafka.cluster import Cluster
from tradewind.chassis.transport.kafka.member import Member, Request

JOIN_TIMEOUT_S = 10.0
COMMIT_TIMEOUT_S = 12.0
"""The member's own, after a request that was in front of it."""

CLOSE_TIMEOUT_S = 5.0
_FETCH_MARGIN_S = 10.0


class KafkaSubscription:
    """One member of `group`. `open` it before anything else."""

    def __init__(self, address: Address, member: str, group: str, topics: Collection[str], cluster: Cluster) -> None:
        self._address = address
        self._topics = frozenset(topics)
        self._cluster = cluster
        self._member = Member(address, member, group, topics)
        self._unclaimed: asyncio.Future[Batch] | None = None

    async def open(self) -> None:
        """Join. Returns with our share, or without where the others are slow to give it: it comes later."""
        self._member.thread.start()
        await asyncio.to_thread(self._member.joined.wait, JOIN_TIMEOUT_S)

    async def fetch(self, max_messages: int, timeout_s: float, skip: Collection[Place] = ()) -> Batch:
        # A fetch that was cancelled may have brought something all the same, even in that very moment.
        asked: asyncio.Future[Batch] = self._unclaimed or self._ask(
            lambda: self._member.do_fetch(max_messages, timeout_s, skip), makes_way=Batch([], set())
        )
        self._unclaimed = asked
        try:
            batch = await client.answered(self._address, asyncio.shield(asked), timeout_s=timeout_s + _FETCH_MARGIN_S)
        except BaseException:
            if asked.done() and (asked.cancelled() or asked.exception() is not None):
                self._unclaimed = None
            raise
        self._unclaimed = None
        return batch

    async def commit(self, positions: Positions) -> None:
        asked = self._ask(lambda: self._member.do_commit(positions))
        await client.answered(self._address, asked, timeout_s=COMMIT_TIMEOUT_S)

    async def lag(self) -> dict[str, int]:
        asked = self._ask(self._member.do_positions)
        positions = await client.answered(self._address, asked, timeout_s=COMMIT_TIMEOUT_S)
        heads = await self._cluster.heads(self._topics) if positions else {}
        lag = dict.fromkeys(self._topics, 0)
        for place, position in positions.items():
            lag[place[0]] += max(0, heads.get(place, 0) - position)
        return lag

    async def close(self) -> None:
        self._member.stop()
        self._ask(lambda: None)  # wakes the thread
        with contextlib.suppress(RuntimeError):  # the event loop is ending
            await asyncio.to_thread(self._member.thread.join, CLOSE_TIMEOUT_S)

    def _ask(self, run: Callable[[], Any], *, makes_way: object = None) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        request = Request(run, loop, loop.create_future(), makes_way)
        self._member.ask(request)
        return request.answer
