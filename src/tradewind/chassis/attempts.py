"""How often a message has failed, kept in the database: a restart or a `kill -9` between two tries starts no count anew.

Written only when something fails, so it costs the good case nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from tradewind.chassis.inbox import CLEANUP_BATCH, KEEP_S
from tradewind.chassis.postgres import Statements
from tradewind.chassis.transport import Delivered

_NOTE = """
    INSERT INTO delivery_attempt AS known (consumer_group, event_id, attempts, failures, first_failed_at)
    VALUES ($1, $2, $3, 1, $4)
    ON CONFLICT (consumer_group, event_id) DO UPDATE
        SET attempts = known.attempts + $3, failures = known.failures + 1, noted_at = now()
    RETURNING attempts, failures, first_failed_at
"""
_FORGET = "DELETE FROM delivery_attempt WHERE consumer_group = $1 AND event_id = $2"
_FORGET_OLD = """
    DELETE FROM delivery_attempt WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM delivery_attempt WHERE noted_at < now() - make_interval(secs => $1) LIMIT $2
    ))
"""


class Tally(NamedTuple):
    """The failures of one message: those that count against its attempts, all of them, and when the first was."""

    attempts: int
    failures: int
    first_at: datetime


async def note(database: Statements, group: str, message: Delivered, *, counts: bool, at: datetime) -> Tally:
    """Write down that `message` failed once more; returns all its failures, those before a restart too."""
    row = await database.row(_NOTE, group, message.id, int(counts), at)
    assert row is not None
    return Tally(*row)


async def forget(database: Statements, group: str, message: Delivered) -> None:
    """`message` is done with."""
    await database.execute(_FORGET, group, message.id)


async def forget_old(database: Statements) -> int:
    """Delete what the bus can deliver no more, a bounded number a call; returns how many."""
    return int((await database.execute(_FORGET_OLD, KEEP_S, CLEANUP_BATCH)).split()[-1])
