"""Where the books are: a connection to each database, and the provider's own list of charges."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any, Protocol

import msgspec

from tradewind.chassis.postgres import Record, dedicated_connection

CONNECT_NAME = "tradewind audit"


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses: a DSN per room with a database, the bus's, and the provider if one keeps a list we may read."""

    databases: Mapping[str, str]
    bus_url: str
    provider: Provider | None = None


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """One charge as the provider's books have it. Amounts in minor units."""

    id: str
    order_id: str
    payment_id: str
    captured_minor: int
    refunded_minor: int
    currency: str


class Provider(Protocol):
    """A payment provider that tells what it has charged."""

    async def charges(self) -> list[Charge]:
        """All charges that took money, oldest first."""
        ...


class Look:
    """One consistent look into one database; everything it reads is as of one moment."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def rows(self, sql: str, *args: object) -> list[Record]:
        """All rows of a query."""
        found: list[Record] = await self._connection.fetch(sql, *args)
        return found

    async def value(self, sql: str, *args: object) -> Any:
        """The first column of the first row."""
        return await self._connection.fetchval(sql, *args)


class Books:
    """A look into every database, and the provider's charges. `began_at` is the database's clock when the audit began."""

    def __init__(self, looks: Mapping[str, Look], charges: list[Charge] | None, began_at: datetime) -> None:
        self._looks = looks
        self.charges = charges
        self.began_at = began_at

    def __getitem__(self, room: str) -> Look:
        return self._looks[room]

    @property
    def rooms(self) -> tuple[str, ...]:
        """The rooms that have a database, without the bus."""
        return tuple(room for room in self._looks if room != "bus")


@contextlib.asynccontextmanager
async def open_books(sources: Sources, began_at: datetime) -> AsyncIterator[Books]:
    """Look into every database at nearly the same time, each in a transaction that reads one snapshot.

    Raises:
        Unavailable: a database is away.
    """
    urls = {**sources.databases, "bus": sources.bus_url}
    async with contextlib.AsyncExitStack() as stack:
        connections = await asyncio.gather(
            *(dedicated_connection(url, application_name=CONNECT_NAME) for url in urls.values())
        )
        for connection in connections:
            stack.push_async_callback(connection.close)
        # The provider first: what it charged after this moment is not in our snapshots either, and never the other way.
        charges = await sources.provider.charges() if sources.provider else None
        await asyncio.gather(
            *(
                connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT 1")
                for connection in connections
            )
        )
        looks = {name: Look(connection) for name, connection in zip(urls, connections, strict=True)}
        yield Books(looks, charges, began_at)
