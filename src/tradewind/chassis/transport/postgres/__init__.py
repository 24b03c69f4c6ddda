"""The bus as an append-only, partitioned log in a PostgreSQL database of its own: what a laptop runs, and small sites.

`PostgresTransport` writes and looks up, `PostgresSubscription` reads, `ensure_schema` makes the tables.
"""

from tradewind.chassis.transport.postgres.log import PostgresTransport
from tradewind.chassis.transport.postgres.schema import ensure_schema, missing_steps
from tradewind.chassis.transport.postgres.subscription import PostgresSubscription

__all__ = ["PostgresSubscription", "PostgresTransport", "ensure_schema", "missing_steps"]
