"""The consumer's side of dead letters: it buries, holds what comes behind, and handles again what an operator asks for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from tradewind.chassis.consumer.verdict import RetryPolicy, Verdict, judge
from tradewind.chassis.deadletters import COLUMNS, NO_EARLIER, DeadLetter, describe, key_as_kept, letter_of
from tradewind.chassis.postgres import Statements, Tx, storable
from tradewind.chassis.transport import Delivered

RETRY_AFTER_S = 1.0

_BURY = """
    INSERT INTO dead_letter (consumer_group, event_id, topic, partition, "offset", key, type, value, headers, error,
        detail, attempts, first_failed_at, last_failed_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT DO NOTHING
"""
_HOLD = """
    INSERT INTO dead_letter (consumer_group, event_id, topic, partition, "offset", key, type, value, headers, error,
        detail, attempts, first_failed_at, last_failed_at, state)
    SELECT $1, event_id, topic, partition, "offset", key, type, value, headers, 'Held',
        'an earlier event of this key is a dead letter', 0, $10, $10, 'behind'
    FROM unnest($2::uuid[], $3::text[], $4::int[], $5::bigint[], $6::text[], $7::text[], $8::bytea[], $9::text[])
        WITH ORDINALITY AS message (event_id, topic, partition, "offset", key, type, value, headers, line)
    ORDER BY line ON CONFLICT DO NOTHING
"""
_NEXT = f"""
    SELECT {COLUMNS} FROM dead_letter AS letter
    WHERE consumer_group = $1 AND state IN ('behind', 'replay') AND (retry_at IS NULL OR retry_at <= now()) AND {NO_EARLIER}
    ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
"""  # noqa: S608 - only the constants above
_FAIL = """
    UPDATE dead_letter SET attempts = attempts + (NOT $6)::int, last_failed_at = $2, error = $3, detail = $4,
        retry_at = now() + make_interval(secs => $5),
        state = CASE WHEN $6 OR (state = 'behind' AND attempts + 1 < $7) THEN state ELSE 'dead' END,
        changed_at = CASE WHEN $6 OR (state = 'behind' AND attempts + 1 < $7) THEN changed_at ELSE now() END
    WHERE id = $1 AND state IN ('behind', 'replay') RETURNING state
"""


async def bury(
    tx: Tx,
    group: str,
    message: Delivered,
    error: BaseException,
    *,
    attempts: int,
    first_at: datetime,
    last_at: datetime,
) -> None:
    """Write `message` down as given up by `group`. Belongs into the transaction of its inbox row."""
    *columns, headers = _columns(message)
    await tx.execute(
        _BURY, group, *columns, headers, type(error).__qualname__, describe(error), attempts, first_at, last_at
    )


async def hold(tx: Tx, group: str, messages: Sequence[Delivered], *, at: datetime) -> None:
    """Put `messages` behind the dead letters of their keys, in this order. Belongs into the transaction of their inbox rows."""
    columns = zip(*map(_columns, messages), strict=True)
    await tx.execute(_HOLD, group, *map(list, columns), at)


async def next_due(tx: Tx, group: str) -> DeadLetter | None:
    """A letter of `group` whose turn it is, locked until `tx` ends; another instance skips it.

    That is one an operator wants handled again, or one behind it, and nothing of its key is before it.
    """
    row = await tx.row(_NEXT, group)
    return None if row is None else letter_of(row)


async def settle(tx: Tx, id_: int) -> None:
    """It took effect. Belongs into the transaction of its effect."""
    await tx.execute("UPDATE dead_letter SET state = 'replayed', changed_at = now() WHERE id = $1", id_)


async def fail_again(
    database: Statements, letter: DeadLetter, error: BaseException, *, at: datetime, policy: RetryPolicy
) -> bool:
    """It failed: back to the operator, or once more in a second. Returns whether it is the operator's now.

    A neighbour that is away or busy is waited for. One from behind has its tries like any other event; of one that an
    operator had handled again he wants to hear at once.
    """
    verdict = judge(error)
    most = 0 if verdict is Verdict.NEVER else policy.attempts
    state = await database.value(
        _FAIL, letter.id, at, type(error).__qualname__, describe(error), RETRY_AFTER_S, verdict is Verdict.LATER, most
    )
    return bool(state == "dead")


def _columns(message: Delivered) -> tuple[object, ...]:
    return (
        message.id,
        message.topic,
        message.partition,
        message.offset,
        key_as_kept(message.key),
        storable(message.type),
        message.value,
        msgspec.json.encode(message.headers).decode(),
    )
