"""A customer's page that follows an order as an EventSource does: it connects again, from where it was, until the end."""

from __future__ import annotations

import asyncio
import contextlib

import aiohttp

RECONNECT_S = 0.2


class Follower:
    """What one page was told: names of events in order. `connections` counts how often it had to connect."""

    def __init__(self, base_url: str, order_id: str, token: str) -> None:
        self._url = f"{base_url}/v1/orders/{order_id}/events"
        self._token = token
        self.told: list[str] = []
        self.connections = 0
        self.last = 0

    async def follow(self) -> None:
        """Return at the end of the order. Raises AssertionError when something is told twice or out of order."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while self.told[-1:] != ["end"]:
                with contextlib.suppress(aiohttp.ClientError):  # an instance that dies takes the connection along
                    await self._connect(session)
                await asyncio.sleep(RECONNECT_S)

    async def _connect(self, session: aiohttp.ClientSession) -> None:
        headers = {"authorization": f"Bearer {self._token}"}
        if self.last:
            headers["last-event-id"] = str(self.last)
        async with session.get(self._url, headers=headers) as answer:
            if answer.status == 503:
                return
            assert answer.status == 200, await answer.text()
            self.connections += 1
            number, name = 0, ""
            async for raw in answer.content:
                field, _, value = raw.decode().rstrip("\n").partition(": ")
                if field == "id":
                    number = int(value)
                elif field == "event":
                    name = value
                elif not field and name:
                    assert number > self.last or name == "end", f"{name} {number} after {self.last}"
                    self.last = number
                    self.told.append(name)
                    name = ""
