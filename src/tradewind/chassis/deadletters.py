"""Dead letters: events a consumer gave up on, kept with their bytes and the reason until an operator decides.

A dead letter is written in the same transaction as its inbox row, so an event is in effect, in here, or still to come,
and never silent. `replay` only marks it: the consumer whose it is handles it again in its own process. By then later
events of the same key have been handled; a handler looks at `version` where that matters.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from tradewind.chassis.errors import Conflict, NotFound
from tradewind.chassis.masking import scrub
from tradewind.chassis.postgres import Record, Statements, Tx
from tradewind.chassis.transport import Delivered

State: TypeAlias = Literal["dead", "replay", "replayed", "dropped"]

MAX_DETAIL_CHARS = 1_000
KEEP_SETTLED_S = 30 * 86_400.0
CLEANUP_BATCH = 1_000

_SELECT = """
    SELECT id, consumer_group, event_id::text, topic, partition, "offset", key, type, value, headers, error, detail,
        attempts, first_failed_at, last_failed_at, state
    FROM dead_letter
"""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One row. `error` is the class of the last failure, `detail` its text without credentials, `value` the event's bytes.

    `dead` waits for an operator, `replay` for its consumer; `replayed` took effect, `dropped` never will.
    """

    id: int
    consumer_group: str
    event_id: str
    topic: str
    partition: int
    offset: int
    key: str
    type: str
    value: bytes
    headers: dict[str, str]
    error: str
    detail: str
    attempts: int
    first_failed_at: datetime
    last_failed_at: datetime
    state: State

    @property
    def message(self) -> Delivered:
        """What the bus had delivered."""
        return Delivered(
            topic=self.topic,
            partition=self.partition,
            offset=self.offset,
            key=self.key,
            id=self.event_id,
            type=self.type,
            value=self.value,
            headers=self.headers,
        )


class DeadLetters:
    """The dead letters in one room's database, for the operator's tools."""

    def __init__(self, database: Statements) -> None:
        self._database = database

    async def list(self, *, state: State | None = "dead", after: int = 0, limit: int = 100) -> list[DeadLetter]:
        """Up to `limit` dead letters in a state (None: any) with ids above `after`, oldest first."""
        rows = await self._database.rows(
            _SELECT + "WHERE ($1::text IS NULL OR state = $1) AND id > $2 ORDER BY id LIMIT $3",
            state, after, limit,
        )  # fmt: skip
        return [_letter(row) for row in rows]

    async def get(self, id_: int) -> DeadLetter:
        """One dead letter.

        Raises:
            NotFound: `dead-letter-not-found`.
        """
        row = await self._database.row(_SELECT + "WHERE id = $1", id_)
        if row is None:
            raise NotFound("dead-letter-not-found", f"There is no dead letter {id_} here.")
        return _letter(row)

    async def replay(self, id_: int) -> None:
        """Have its consumer handle it again, within a second or two.

        Raises:
            NotFound: `dead-letter-not-found`.
            Conflict: `dead-letter-settled`, it was replayed or dropped before.
        """
        await self._decide(id_, "replay")

    async def drop(self, id_: int) -> None:
        """Decide that it shall never take effect. The row stays for 30 days, as evidence.

        Raises:
            NotFound: `dead-letter-not-found`.
            Conflict: `dead-letter-settled`, it was replayed or dropped before.
        """
        await self._decide(id_, "dropped")

    async def _decide(self, id_: int, state: State) -> None:
        changed = await self._database.value(
            "UPDATE dead_letter SET state = $2, changed_at = now()"
            " WHERE id = $1 AND state IN ('dead', 'replay') RETURNING true",
            id_, state,
        )  # fmt: skip
        if not changed:
            letter = await self.get(id_)
            raise Conflict("dead-letter-settled", f"Dead letter {id_} is {letter.state} already.")


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
    await tx.execute(
        'INSERT INTO dead_letter (consumer_group, event_id, topic, partition, "offset", key, type, value, headers, error,'
        " detail, attempts, first_failed_at, last_failed_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT DO NOTHING",
        group, message.id, message.topic, message.partition, message.offset, message.key, message.type, message.value,
        msgspec.json.encode(message.headers).decode(), type(error).__qualname__, describe(error), attempts, first_at, last_at,
    )  # fmt: skip


async def next_replay(tx: Tx, group: str) -> DeadLetter | None:
    """A dead letter of `group` that an operator wants handled again, locked until `tx` ends; another instance skips it."""
    row = await tx.row(
        _SELECT + "WHERE state = 'replay' AND consumer_group = $1 ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED",
        group,
    )
    return None if row is None else _letter(row)


async def settle(tx: Tx, id_: int) -> None:
    """The replay worked. Belongs into the transaction of its effect."""
    await tx.execute("UPDATE dead_letter SET state = 'replayed', changed_at = now() WHERE id = $1", id_)


async def fail_again(database: Statements, id_: int, error: BaseException, *, at: datetime) -> None:
    """The replay failed as well: back to the operator."""
    await database.execute(
        "UPDATE dead_letter SET state = 'dead', changed_at = now(), attempts = attempts + 1, last_failed_at = $2,"
        " error = $3, detail = $4 WHERE id = $1 AND state = 'replay'",
        id_, at, type(error).__qualname__, describe(error),
    )  # fmt: skip


async def forget_settled(database: Statements) -> int:
    """Delete replayed and dropped ones after 30 days, a bounded number a call; returns how many."""
    tag = await database.execute(
        "DELETE FROM dead_letter WHERE id = ANY(ARRAY(SELECT id FROM dead_letter WHERE state IN ('replayed', 'dropped')"
        " AND changed_at < now() - make_interval(secs => $1) LIMIT $2))",
        KEEP_SETTLED_S, CLEANUP_BATCH,
    )  # fmt: skip
    return int(tag.split()[-1])


def describe(error: BaseException) -> str:
    """The first line of an error's text, without credentials. PostgreSQL's further lines quote rows: they stay out."""
    lines = str(error).replace("\x00", "").splitlines()
    return scrub(lines[0], MAX_DETAIL_CHARS) if lines else ""


def _letter(row: Record) -> DeadLetter:
    values = dict(row)
    return DeadLetter(**{**values, "headers": msgspec.json.decode(values["headers"], type=dict[str, str])})
