"""Where the books are: a DSN for each database, and the provider's own list of charges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from tradewind.chassis.transport import is_kafka


class Charge(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A charge that took money, as the provider's books have it; amounts in minor units.

    `attempt_id` and `order_id` are what we told the provider when we asked for it; empty where we did not.
    """

    id: str
    attempt_id: str
    order_id: str
    captured_minor: int
    refunded_minor: int
    currency: str


class Provider(Protocol):
    """A payment provider that tells what it has charged. `name` is what attempts call it."""

    @property
    def name(self) -> str: ...

    async def charges(self) -> Sequence[Charge]:
        """All charges that ever took money, also those given back since.

        Raises:
            Unavailable: the provider is away, or does not know us.
        """
        ...


SCRATCH = "analytics"
"""The room in whose database the audit makes temporary tables of what is on a bus that has no database."""


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses: a DSN per room with a database, the bus's, and the provider if one keeps a list we may read."""

    databases: Mapping[str, str]
    bus_url: str
    provider: Provider | None = None

    @property
    def bus_database_url(self) -> str:
        """The database in which the tables of the bus are, or are made for the time of the audit."""
        return self.databases[SCRATCH] if is_kafka(self.bus_url) else self.bus_url
