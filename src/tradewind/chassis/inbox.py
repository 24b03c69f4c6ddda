"""The inbox: the ids of the events that took effect, written in the transaction of the effect.

Delivery is at least once; with the id under a primary key an event takes effect exactly once. Two consumers that are
handed the same event at the same time wait for each other here: the second finds the id, or the field free.

The same statement says which keys have a dead letter that nobody has decided on: what comes after it must wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tradewind.chassis.deadletters import key_as_kept
from tradewind.chassis.postgres import Statements, Tx
from tradewind.chassis.transport import RETENTION_S, Delivered

KEEP_S = 2 * RETENTION_S
"""Longer than the bus keeps the event itself, so that nothing it can deliver again has been forgotten."""

CLEANUP_BATCH = 1_000

_HELD = """
    EXISTS (
        SELECT FROM dead_letter AS earlier
        WHERE earlier.consumer_group = $1 AND earlier.topic = message.topic AND earlier.key = message.key
            AND earlier.state IN ('dead', 'behind', 'replay')
    )
"""
_MESSAGES = "unnest($2::uuid[], $3::text[], $4::text[]) AS message (event_id, topic, key)"
_CLAIM = f"""
    WITH claimed AS (
        INSERT INTO inbox (consumer_group, event_id) SELECT $1, unnest($2::uuid[]) ON CONFLICT DO NOTHING RETURNING event_id
    )
    SELECT event_id, {_HELD} AS held FROM claimed JOIN {_MESSAGES} USING (event_id)
"""  # noqa: S608 - only the constants above
_LOOK_AGAIN = f"SELECT event_id FROM {_MESSAGES} WHERE {_HELD}"  # noqa: S608 - only the constants above
_FORGET = """
    DELETE FROM inbox WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM inbox WHERE received_at < now() - make_interval(secs => $1) ORDER BY received_at LIMIT $2
    ))
"""


class Claimed(NamedTuple):
    """Ids of events: `new` are those not taken before, `held` those of them whose key has a dead letter waiting."""

    new: set[str]
    held: set[str]


class Inbox:
    """The inbox of one consumer group."""

    def __init__(self, group: str) -> None:
        self._group = group

    async def claim(self, tx: Tx, messages: Sequence[Delivered]) -> Claimed:
        """Mark events as taken by `tx`. Waits for another who is just at one of them."""
        ids = [message.id for message in messages]
        columns = (ids, [message.topic for message in messages], [key_as_kept(message.key) for message in messages])
        rows = await tx.rows(_CLAIM, self._group, *columns)
        new = {str(event_id) for event_id, _ in rows}
        held = {str(event_id) for event_id, is_held in rows if is_held}
        if len(new) < len(ids):
            # We may have waited for somebody who buried one of them; a new statement sees what he wrote.
            held = {str(row[0]) for row in await tx.rows(_LOOK_AGAIN, self._group, *columns)} & new
        return Claimed(new, held)


async def forget_old(database: Statements) -> int:
    """Delete ids older than `KEEP_S`, a bounded number a call; returns how many."""
    return int((await database.execute(_FORGET, KEEP_S, CLEANUP_BATCH)).split()[-1])
