"""The inbox: the ids of the events that took effect, written in the transaction of the effect.

Delivery is at least once; with the id under a primary key an event takes effect exactly once. Two consumers that are
handed the same event at the same time wait for each other here: the second finds the id, or the field free.
"""

from __future__ import annotations

from collections.abc import Collection

from tradewind.chassis.postgres import Statements, Tx
from tradewind.chassis.transport import RETENTION_S

KEEP_S = 2 * RETENTION_S
"""Longer than the bus keeps the event itself, so that nothing it can deliver again has been forgotten."""

CLEANUP_BATCH = 1_000

_CLAIM = (
    "INSERT INTO inbox (consumer_group, event_id) SELECT $1, unnest($2::uuid[])"
    " ON CONFLICT DO NOTHING RETURNING event_id"
)
_FORGET = """
    DELETE FROM inbox WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM inbox WHERE received_at < now() - make_interval(secs => $1) ORDER BY received_at LIMIT $2
    ))
"""


class Inbox:
    """The inbox of one consumer group."""

    def __init__(self, group: str) -> None:
        self._group = group

    async def claim(self, tx: Tx, event_ids: Collection[str]) -> set[str]:
        """Mark events as handled by `tx`; returns those that were not before. Waits for another who is just at one."""
        return {str(row[0]) for row in await tx.rows(_CLAIM, self._group, list(event_ids))}


async def forget_old(database: Statements) -> int:
    """Delete ids older than `KEEP_S`, a bounded number a call; returns how many."""
    return int((await database.execute(_FORGET, KEEP_S, CLEANUP_BATCH)).split()[-1])
