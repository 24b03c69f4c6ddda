"""Customers who keep coming while a test does something to the platform."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import aiohttp

from tests.e2e.customers import order_body
from tradewind.chassis.ids import new_id
from tradewind.traffic.client import Refused, Shop, Shopper

RETRY_PAUSE_S = 0.1
PATIENCE_S = 45.0
AWAY = frozenset({503, 504})
"""What a client with a key tries again, beside an answer that never came."""

Request = Callable[[], Awaitable[None]]


class OpenLoop:
    """Sends a request every 1/`rate_per_s` seconds, whether or not earlier ones were answered, until it is stopped.

    `failures` counts what did not succeed, by what was answered instead; 429 counts too.
    """

    def __init__(self, request: Request, *, rate_per_s: float) -> None:
        self._request = request
        self._pause_s = 1.0 / rate_per_s
        self._under_way: set[asyncio.Task[None]] = set()
        self.sent = 0
        self.failures: Counter[str] = Counter()
        self.slowest_s = 0.0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[OpenLoop]:
        """Send while the block runs; leave it when every request was answered or failed."""
        sending = asyncio.create_task(self._send())
        try:
            yield self
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            await asyncio.gather(*self._under_way)

    async def answered(self, count: int) -> None:
        """Return once `count` more requests than now were sent and those under way now are done."""
        aim = self.sent + count
        while self.sent < aim:
            await asyncio.sleep(self._pause_s)
        await asyncio.gather(*self._under_way)

    async def _send(self) -> None:
        started_s = time.perf_counter()
        for number in itertools.count():
            await asyncio.sleep(max(0.0, started_s + number * self._pause_s - time.perf_counter()))
            self.sent += 1
            task = asyncio.create_task(self._one())
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _one(self) -> None:
        started_s = time.perf_counter()
        try:
            await self._request()
        except Refused as refused:
            self.failures[str(refused)] += 1
        except Exception as error:
            self.failures[repr(error)] += 1
        self.slowest_s = max(self.slowest_s, time.perf_counter() - started_s)


class KeyedBuyers:
    """Orders, each tried with its one key until it is acknowledged: what a careful client does.

    `acknowledged` has the id of every order that was answered with 201, and whose it is.
    """

    def __init__(self, shop: Shop, shoppers: Sequence[Shopper], sku: str) -> None:
        self._shop = shop
        self._shoppers = itertools.cycle(shoppers)
        self._sku = sku
        self.acknowledged: dict[str, Shopper] = {}
        self.tried_again: Counter[str] = Counter()

    async def buy(self) -> None:
        """Place one order. Raises Refused for an answer that no retry changes, TimeoutError after `PATIENCE_S`."""
        shopper, key = next(self._shoppers), new_id()
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    placed = await self._shop.call(
                        "POST", "/v1/orders", token=shopper.token, body=order_body(self._sku), key=key
                    )
                except Refused as refused:
                    if refused.status not in AWAY and refused.code != "idempotency-in-progress":
                        raise
                    self.tried_again[f"{refused.status} {refused.code}"] += 1
                except (aiohttp.ClientError, OSError) as error:
                    self.tried_again[type(error).__name__] += 1
                else:
                    assert placed.body["id"] not in self.acknowledged, "two keys, one order"
                    self.acknowledged[placed.body["id"]] = shopper
                    return
                await asyncio.sleep(RETRY_PAUSE_S)

    async def all_confirmed(self) -> None:
        """Wait until every acknowledged order has its money, and check that there are no others."""
        for order_id, shopper in self.acknowledged.items():
            order = await self._shop.settled(shopper.token, order_id, timeout_s=90.0)
            assert order["status"] == "confirmed", order
        owners = {shopper.id: shopper for shopper in self.acknowledged.values()}
        found: set[str] = set()
        for shopper in owners.values():
            found |= {order["id"] async for order in self._orders_of(shopper)}
        assert found == set(self.acknowledged)

    async def _orders_of(self, shopper: Shopper) -> AsyncIterator[Any]:
        cursor = ""
        while True:
            path = f"/v1/orders?limit=100{cursor}"
            page = (await self._shop.call("GET", path, token=shopper.token)).body
            for order in page["items"]:
                yield order
            if page["next_cursor"] is None:
                return
            cursor = f"&cursor={page['next_cursor']}"


class Visitors:
    """Requests of every kind a shop sees: each room is read, and one in five is an order with a key. Nothing is retried.

    With `unkeyed_writes` one in ten is a change without a key, which nobody may send twice on the sender's behalf.
    """

    def __init__(
        self, shop: Shop, shoppers: Sequence[Shopper], sku: str, admin: str, *, seed: int, unkeyed_writes: bool = False
    ) -> None:
        self._shop = shop
        self._shoppers = list(shoppers)
        self._sku = sku
        self._admin = admin
        self._random = random.Random(seed)
        self._unkeyed_share = 0.1 if unkeyed_writes else 0.0
        self.placed: list[tuple[Shopper, str]] = []

    async def visit(self) -> None:
        """One request of a kind drawn at random. Raises Refused, or whatever the connection does."""
        shopper = self._random.choice(self._shoppers)
        drawn = self._random.random()
        if drawn < 0.2:
            await self.order(shopper)
        elif drawn < 0.2 + self._unkeyed_share:
            path, token, body = self._random.choice(self._changes(shopper))
            await self._shop.call("PATCH", path, token=token, body=body)
        else:
            path, reader = self._random.choice(self._readings(shopper))
            await self._shop.call("GET", path, token=reader)

    async def order(self, shopper: Shopper) -> None:
        """Place an order with a key."""
        order = await self._shop.place_order(shopper, [(self._sku, 1)], "pm_card_visa", key=new_id())
        self.placed.append((shopper, order["id"]))

    async def all_confirmed(self) -> None:
        """Wait until every order has its money."""
        for shopper, order_id in self.placed:
            order = await self._shop.settled(shopper.token, order_id, timeout_s=60.0)
            assert order["status"] == "confirmed", order

    def _changes(self, shopper: Shopper) -> list[tuple[str, str, Any]]:
        name = f"Visitor {self._random.randrange(1_000)}"
        return [
            ("/v1/users/me", shopper.token, {"name": name}),
            (f"/v1/products/{self._sku}", self._admin, {"description": name}),
        ]

    def _readings(self, shopper: Shopper) -> list[tuple[str, str | None]]:
        own = ("/v1/users/me", "/v1/auth/sessions", "/v1/orders", "/v1/payments", "/v1/notifications")
        found: list[tuple[str, str | None]] = [(path, shopper.token) for path in own]
        if self.placed:
            owner, order_id = self.placed[-1]
            found.append((f"/v1/orders/{order_id}", owner.token))
        public = ("/v1/products", f"/v1/products/{self._sku}")
        return [*found, *((path, None) for path in public), ("/v1/analytics/summary", self._admin)]
