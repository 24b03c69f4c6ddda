"""Dead letters: events a consumer gave up on, kept with their bytes and the reason until an operator decides.

A dead letter is written in the same transaction as its inbox row, so an event is in effect, in here, or still to come,
and never silent. What comes after it on the same key is held `behind` it, because an aggregate's events are taken in
their order or not at all; other keys go on. `replay` only marks a letter: the consumer whose it is handles it again in its
own process, and then what waits behind it. Dropping it lets those go on as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Literal, NamedTuple, TypeAlias, get_args

import msgspec

from tradewind.chassis.errors import Conflict, NotFound
from tradewind.chassis.masking import scrub
from tradewind.chassis.postgres import Record, Statements, storable
from tradewind.chassis.transport import Delivered

State: TypeAlias = Literal["dead", "behind", "replay", "replayed", "dropped"]

STATES: tuple[State, ...] = get_args(State)
OPEN: tuple[State, ...] = ("dead", "behind", "replay")
"""The states of what has not taken effect and may yet."""

MAX_DETAIL_CHARS = 1_000
MAX_REASON_CHARS = 1_000
MAX_KEY_CHARS = 256
KEY_PREVIEW_CHARS = 40
KEEP_REPLAYED_S = 30 * 86_400.0
CLEANUP_BATCH = 1_000

COLUMNS = """
    id, consumer_group, event_id::text, topic, partition, "offset", key, type, value, headers, error, detail,
    attempts, first_failed_at, last_failed_at, state, changed_at, decided_by, reason
"""
_EARLIER = """
    SELECT earlier.id FROM dead_letter AS earlier
    WHERE earlier.consumer_group = letter.consumer_group AND earlier.topic = letter.topic AND earlier.key = letter.key
        AND earlier.id < letter.id AND earlier.state IN ('dead', 'behind', 'replay')
"""
NO_EARLIER = f"NOT EXISTS ({_EARLIER})"
"""True of a `letter` that nothing of its key is waiting before."""

_FIND = f"SELECT {COLUMNS} FROM dead_letter"  # noqa: S608 - only the constant above
_STILL_BEFORE = f"""
    SELECT earlier.id, earlier.state FROM dead_letter AS letter, LATERAL ({_EARLIER}) AS found
    JOIN dead_letter AS earlier USING (id)
    WHERE letter.id = $1 ORDER BY earlier.state = 'replay', earlier.id LIMIT 1
"""  # noqa: S608 - only the constant above
_BEHIND = """
    SELECT count(*) FROM dead_letter AS letter
    JOIN dead_letter AS later USING (consumer_group, topic, key)
    WHERE letter.id = $1 AND later.id > letter.id AND later.state = ANY($2)
"""
_STANDING = """
    SELECT consumer_group, type, state, count(*) AS letters,
        extract(epoch FROM clock_timestamp() - min(first_failed_at))::float8 AS oldest_s
    FROM dead_letter WHERE state IN ('dead', 'behind', 'replay') GROUP BY 1, 2, 3
"""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One row. `error` is the class of the last failure, `detail` its text without credentials, `value` the event's bytes.

    `dead` waits for an operator, `behind` for an earlier letter of its key, `replay` for its consumer; `replayed` took
    effect, `dropped` never will. `changed_at` is when it came into that state; `decided_by` and `reason` are the operator's.
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
    changed_at: datetime
    decided_by: str | None
    reason: str | None

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


class Standing(NamedTuple):
    """How many letters of a type a consumer has in an open state, and since when the oldest of them fails."""

    consumer_group: str
    type: str
    state: State
    letters: int
    oldest_s: float


class DeadLetters:
    """The dead letters in one room's database, for the operator's tools."""

    def __init__(self, database: Statements) -> None:
        self._database = database

    async def list(
        self, *, state: State | None = "dead", states: Collection[State] = (), after: int = 0, limit: int = 100
    ) -> list[DeadLetter]:
        """Up to `limit` dead letters in a state, or in one of `states` (None: any), with ids above `after`, oldest first."""
        wanted = list(states) or (list(STATES) if state is None else [state])
        rows = await self._database.rows(
            _FIND + " WHERE state = ANY($1) AND id > $2 ORDER BY id LIMIT $3", wanted, after, limit
        )
        return [letter_of(row) for row in rows]

    async def get(self, id_: int) -> DeadLetter:
        """One dead letter.

        Raises:
            NotFound: `dead-letter-not-found`.
        """
        row = await self._database.row(_FIND + " WHERE id = $1", id_)
        if row is None:
            raise NotFound("dead-letter-not-found", f"There is no dead letter {id_} here.")
        return letter_of(row)

    async def behind(self, id_: int, *states: State) -> int:
        """How many later letters of its key are in `states`, all open ones if none is given."""
        return int(await self._database.value(_BEHIND, id_, list(states or OPEN)))

    async def replay(self, id_: int, *, by: str = "") -> None:
        """Have its consumer handle it again, within a second or two, and then what waits behind it.

        Raises:
            NotFound: `dead-letter-not-found`.
            Conflict: `dead-letter-settled`, it was replayed or dropped before; `dead-letter-behind`, an earlier letter
                of its key is still to be decided on.
        """
        first = await self._database.row(_STILL_BEFORE, id_)
        if first is not None and first["state"] != "replay":
            raise Conflict("dead-letter-behind", f"Dead letter {id_} waits behind {first['id']}: decide on that first.")
        await self._decide(id_, "replay", by, None)

    async def drop(self, id_: int, *, by: str = "", reason: str = "") -> None:
        """Decide that it shall never take effect; what waits behind it goes on. The row stays for good, as evidence.

        Raises:
            NotFound: `dead-letter-not-found`.
            Conflict: `dead-letter-settled`, it was replayed or dropped before.
        """
        await self._decide(id_, "dropped", by, reason[:MAX_REASON_CHARS] or None)

    async def standing(self) -> Sequence[Standing]:
        """All open letters, counted."""
        return [Standing(*row) for row in await self._database.rows(_STANDING)]

    async def _decide(self, id_: int, state: State, by: str, reason: str | None) -> None:
        changed = await self._database.value(
            "UPDATE dead_letter SET state = $2, changed_at = now(), decided_by = nullif($3, ''), reason = $4, retry_at = NULL"
            " WHERE id = $1 AND state IN ('dead', 'behind', 'replay') RETURNING true",
            id_, state, by, reason,
        )  # fmt: skip
        if not changed:
            letter = await self.get(id_)
            raise Conflict("dead-letter-settled", f"Dead letter {id_} is {letter.state} already.")


async def forget_replayed(database: Statements) -> int:
    """Delete replayed ones after 30 days, a bounded number a call; returns how many. Dropped ones stay: somebody decided."""
    tag = await database.execute(
        "DELETE FROM dead_letter WHERE id = ANY(ARRAY(SELECT id FROM dead_letter WHERE state = 'replayed'"
        " AND changed_at < now() - make_interval(secs => $1) LIMIT $2))",
        KEEP_REPLAYED_S, CLEANUP_BATCH,
    )  # fmt: skip
    return int(tag.split()[-1])


def describe(error: BaseException) -> str:
    """The first line of an error's text, without credentials. PostgreSQL's further lines quote rows: they stay out."""
    lines = str(error).replace("\x00", "").splitlines()
    return scrub(lines[0], MAX_DETAIL_CHARS) if lines else ""


def key_as_kept(key: str) -> str:
    """A key as letters have it. Nobody of ours has a long one; one that no index has room for must not stop a consumer."""
    if len(key) > MAX_KEY_CHARS:
        digest = hashlib.sha256(key.encode(errors="backslashreplace")).hexdigest()
        key = f"{key[:KEY_PREVIEW_CHARS]}...(sha256:{digest})"
    return storable(key)


def letter_of(row: Record) -> DeadLetter:
    """A row with `COLUMNS` as a letter."""
    values = dict(row)
    return DeadLetter(**{**values, "headers": msgspec.json.decode(values["headers"], type=dict[str, str])})
