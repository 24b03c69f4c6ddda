"""The hash chain over the ledger.

A block is all transactions with ids `from_id` to `to_id`; blocks follow each other without a gap. Its hash is SHA-256 over the hash of
the block before, its own number, bounds and count, and its transactions in the order of their ids, a line each.

Ids are handed out when a row is inserted and become visible when its transaction commits, so a lower one may come after a
higher one, and one that was rolled back never comes. Whoever inserts holds a lock on the table from before the id is drawn until the
transaction has ended. So: see the highest id, then who holds that lock; once those have ended, every id up to that one is there
for good or for good not. Transactions of other tables and other databases hold nobody up.
"""

# ruff: noqa: S608 - only constants are formatted into statements

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from tradewind.chassis.postgres import Database, Statements, Tx

GENESIS = "0" * 64
"""What the first block has for the hash of the block before."""

HASH = r"""
    encode(sha256(convert_to(
        concat_ws('|', previous_hash, number, from_id, to_id, count(t.id)) || E'\n' || coalesce(string_agg(
            concat_ws('|', t.id, t.cause, t.cause_id, t.payment_id, t.debit_account, t.credit_account, t.amount_minor,
                t.currency, to_char(t.booked_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')),
            E'\n' ORDER BY t.id), ''),
        'UTF8')), 'hex')
"""
"""Of a block with these columns, over its rows of `ledger_transaction AS t`."""

_SEALER = 0x7365616C
"""The advisory lock of whoever seals."""

# The snapshot for the ids is taken before the locks are looked at. A row that is locked in any stronger mode to be written is locked in
# this one, too.
_WRITERS = """
    locktype = 'relation' AND relation = 'ledger_transaction'::regclass AND mode = 'RowExclusiveLock' AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_UNSEALED = f"""
    SELECT upto, ARRAY(SELECT virtualtransaction FROM pg_locks WHERE {_WRITERS}) AS writers
    FROM (SELECT max(id) AS upto FROM ledger_transaction) AS booked
    WHERE upto > coalesce((SELECT max(to_id) FROM ledger_seal), 0)
"""
_STILL_WRITING = f"SELECT count(*) FROM pg_locks WHERE {_WRITERS} AND virtualtransaction = ANY($1::text[])"
_SEAL = f"""
    WITH last AS (
        SELECT number, to_id, hash FROM ledger_seal ORDER BY number DESC LIMIT 1
    ), begun AS (
        SELECT coalesce(max(number), 0) + 1 AS number, coalesce(max(to_id), 0) + 1 AS from_id,
            coalesce(max(hash), '{GENESIS}') AS previous_hash
        FROM last
    ), block AS (
        SELECT begun.*, (
            SELECT max(id) FROM (
                SELECT id FROM ledger_transaction WHERE id BETWEEN begun.from_id AND $1 ORDER BY id LIMIT $2
            ) AS few
        ) AS to_id
        FROM begun
    )
    INSERT INTO ledger_seal (number, from_id, to_id, transactions, previous_hash, hash)
    SELECT number, from_id, to_id, count(t.id), previous_hash, {HASH}
    FROM block JOIN ledger_transaction AS t ON t.id BETWEEN block.from_id AND block.to_id
    GROUP BY number, from_id, to_id, previous_hash
    RETURNING *
"""
_LIST = "SELECT * FROM ledger_seal WHERE number < $1 ORDER BY number DESC LIMIT $2"


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """A sealed block. The hashes are 64 hexadecimal digits."""

    number: int
    from_id: int
    to_id: int
    transactions: int
    previous_hash: str
    hash: str
    sealed_at: datetime


class Unsealed(msgspec.Struct, frozen=True):
    """Transactions up to the id `upto` are there and not sealed; `writers` may still add some before it."""

    upto: int
    writers: Sequence[str]


async def find_unsealed(database: Database) -> Unsealed | None:
    """What is to be sealed, and whose end that waits for; None when all is sealed."""
    row = await database.row(_UNSEALED)
    return Unsealed(row["upto"], row["writers"]) if row else None


async def are_writing(database: Database, writers: Sequence[str]) -> bool:
    """Whether any of these transactions is still open."""
    return bool(await database.value(_STILL_WRITING, writers))


async def lock(tx: Tx) -> bool:
    """Become the one that seals, until the transaction ends; False when somebody else does."""
    return bool(await tx.value("SELECT pg_try_advisory_xact_lock($1)", _SEALER))


async def seal(tx: Tx, upto: int, most: int) -> Seal | None:
    """Seal one block of at most `most` transactions with ids up to `upto`, to which none must be added any more.

    None: there is nothing left to seal.
    """
    row = await tx.row(_SEAL, upto, most)
    return Seal(**dict(row)) if row else None


async def list_seals(statements: Statements, *, before: int, limit: int) -> Sequence[Seal]:
    """Seals, newest first, those before the number `before`."""
    return [Seal(**dict(row)) for row in await statements.rows(_LIST, before, limit)]
