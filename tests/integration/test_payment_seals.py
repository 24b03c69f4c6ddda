"""The chain over the ledger: complete whatever commits when, append-only, and broken by whatever is changed under it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, cast

import asyncpg
import pytest
import pytest_asyncio

from tests.conftest import RoomDatabase
from tests.integration.payment_fixtures import Till, eventually, open_till
from tests.sandbox_process import Sandbox
from tradewind.audit.books import PAYMENT, Books
from tradewind.audit.checks.ledger import seals_hold
from tradewind.audit.look import open_looks
from tradewind.chassis.ids import new_id
from tradewind.chassis.postgres import Tx
from tradewind.services.payment.usecases import seal_ledger
from tradewind.services.payment.usecases.sealing import BLOCKS_A_RUN

BLOCK = 4
BOOK = """
    INSERT INTO ledger_transaction (cause, cause_id, payment_id, debit_account, credit_account, amount_minor, currency)
    SELECT 'capture', gen_random_uuid(), gen_random_uuid(), 'psp_clearing', 'sales', n, 'EUR'
    FROM generate_series(1, $1::int) AS n RETURNING id
"""


@pytest_asyncio.fixture
async def till(room_database: RoomDatabase, tmp_path: Path) -> AsyncIterator[Till]:
    # No provider is asked for anything here, so none is started.
    async with open_till(await room_database("payment"), Sandbox(tmp_path), working=False) as till:
        yield till


async def book(statements: Any, count: int = 1) -> list[int]:
    """Book transactions; their ids."""
    return [row["id"] for row in await statements.rows(BOOK, count)]


async def seal(till: Till, *, wait_s: float = 5.0) -> None:
    """Seal in small blocks."""
    await seal_ledger(till.parts, block_transactions=BLOCK, wait_s=wait_s)


async def seals(till: Till) -> list[dict[str, Any]]:
    """The chain, oldest first."""
    return [dict(row) for row in await till.database.rows("SELECT * FROM ledger_seal ORDER BY number")]


async def broken(till: Till) -> Sequence[tuple[str, str]]:
    """What the audit says of the chain: (subject, detail)."""
    async with open_looks({PAYMENT: till.access.url}) as looks:
        found = await seals_hold(cast("Books", looks))
    assert all(violation.invariant == "I1" and violation.next_step for violation in found)
    return [(violation.subject, violation.detail) for violation in found]


@contextlib.asynccontextmanager
async def tampering(till: Till) -> AsyncIterator[asyncpg.Connection]:
    """Somebody who owns the tables and has taken the triggers away."""
    owner = await asyncpg.connect(till.access.owner_url)
    try:
        for table in ("ledger_transaction", "ledger_seal"):
            await owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        yield owner
    finally:
        await owner.close()


async def test_blocks_cover_every_transaction_once_and_hang_together(till: Till) -> None:
    ids = await book(till.database, 10)
    await seal(till)
    assert [(s["number"], s["from_id"], s["to_id"], s["transactions"]) for s in await seals(till)] == [
        (1, 1, ids[3], 4),
        (2, ids[3] + 1, ids[7], 4),
        (3, ids[7] + 1, ids[9], 2),
    ]
    await seal(till)
    assert len(await seals(till)) == 3
    await book(till.database)
    await seal(till)
    chain = await seals(till)
    assert [s["previous_hash"] for s in chain] == ["0" * 64, *(s["hash"] for s in chain[:-1])]
    assert await broken(till) == []


async def test_the_hash_is_the_documented_one(till: Till) -> None:
    """Computed here from the rows and from what the docs say, so that anybody can."""
    await book(till.database, 3)
    await seal(till)
    (sealed,) = await seals(till)
    rows = await till.database.rows("SELECT * FROM ledger_transaction ORDER BY id")
    names = ("id", "cause", "cause_id", "payment_id", "debit_account", "credit_account", "amount_minor", "currency")
    lines = [
        "|".join([*(str(row[name]) for name in names), f"{row['booked_at']:%Y-%m-%dT%H:%M:%S.%fZ}"]) for row in rows
    ]
    head = f"{'0' * 64}|1|1|{rows[-1]['id']}|3"
    assert sealed["hash"] == hashlib.sha256("\n".join([head, *lines]).encode()).hexdigest()


async def test_ids_that_were_rolled_back_hold_nothing_up(till: Till) -> None:
    first = await book(till.database)
    with contextlib.suppress(ZeroDivisionError):
        async with till.database.transaction() as tx:
            await book(tx, 3)
            raise ZeroDivisionError
    last = await book(till.database)
    assert last[0] == first[0] + 4
    await seal(till)
    assert [(s["from_id"], s["to_id"], s["transactions"]) for s in await seals(till)] == [(1, last[0], 2)]
    assert await broken(till) == []


async def test_a_lower_id_that_commits_later_is_waited_for(till: Till) -> None:
    async with till.database.transaction() as late:
        lower = await book(late)
        higher = await book(till.database)
        assert lower < higher
        await seal(till, wait_s=0.2)
        assert await seals(till) == []
        sealing = asyncio.create_task(seal(till))

        async def waiting() -> bool:
            return await _polls(till)

        await eventually(waiting)
        assert await seals(till) == []
    await sealing
    assert [(s["from_id"], s["to_id"], s["transactions"]) for s in await seals(till)] == [(1, higher[0], 2)]
    assert await broken(till) == []


async def _polls(till: Till) -> bool:
    """Whether a sealer has looked at the locks by now."""
    sql = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%virtualtransaction = ANY%' AND pid <> pg_backend_pid()"
    return bool(await till.database.value(sql))


async def test_whoever_begins_later_is_not_waited_for(till: Till) -> None:
    ids = await book(till.database, 2)
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(till.database.transaction())
        await first.rows("SELECT FROM ledger_transaction")  # reads only
        await seal(till, wait_s=0.2)
        assert [s["to_id"] for s in await seals(till)] == [ids[-1]]


async def test_beside_writers_that_commit_and_roll_back_as_they_like(till: Till) -> None:
    """Several sealers, many writers, ids that commit out of order or never: a whole chain, and no error."""

    async def write(n: int) -> None:
        for step in range(12):
            with contextlib.suppress(ZeroDivisionError):
                async with till.database.transaction() as tx:
                    await book(tx, 1 + (n + step) % 3)
                    await tx.execute("SELECT pg_sleep($1)", ((n * 7 + step) % 5) / 500)
                    if (n + step) % 4 == 0:
                        raise ZeroDivisionError

    async def keep_sealing(done: asyncio.Event) -> None:
        while not done.is_set():
            await seal(till)

    done = asyncio.Event()
    sealers = [asyncio.create_task(keep_sealing(done)) for _ in range(3)]
    await asyncio.gather(*(write(n) for n in range(4)))
    done.set()
    await asyncio.gather(*sealers)
    await seal(till)
    booked = await till.database.value("SELECT count(*) FROM ledger_transaction")
    assert sum(s["transactions"] for s in await seals(till)) == booked
    assert await broken(till) == []


async def test_one_seals_at_a_time(till: Till) -> None:
    await book(till.database, BLOCK * 10)

    async def locked(tx: Tx) -> bool:
        return bool(await tx.value("SELECT pg_try_advisory_xact_lock(1936023916)"))

    async with till.database.transaction() as somebody:
        assert await locked(somebody)
        await seal(till)
        assert await seals(till) == []
    await asyncio.gather(*(seal(till) for _ in range(4)))
    assert [s["number"] for s in await seals(till)] == list(range(1, 11))
    assert await broken(till) == []


async def test_a_run_is_bounded(till: Till) -> None:
    await book(till.database, BLOCKS_A_RUN + 1)
    await seal_ledger(till.parts, block_transactions=1)
    assert len(await seals(till)) == BLOCKS_A_RUN


async def test_seals_are_append_only(till: Till) -> None:
    await book(till.database)
    await seal(till)
    for statement in (
        "UPDATE ledger_seal SET to_id = to_id + 1",
        "DELETE FROM ledger_seal",
        "TRUNCATE ledger_seal",
        "ALTER TABLE ledger_seal DISABLE TRIGGER ALL",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await till.database.execute(statement)
    owner = await asyncpg.connect(till.access.owner_url)
    try:
        for statement in ("UPDATE ledger_seal SET number = 9", "DELETE FROM ledger_seal", "TRUNCATE ledger_seal"):
            with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
                await owner.execute(statement)
    finally:
        await owner.close()


CHANGED = "a transaction, or the seal itself, was changed"
INSERT = (
    "INSERT INTO ledger_transaction (id, cause, cause_id, payment_id, debit_account, credit_account, amount_minor, currency)"
    " OVERRIDING SYSTEM VALUE VALUES ({}, 'capture', gen_random_uuid(), gen_random_uuid(), 'psp_clearing', 'sales', 1, 'EUR')"
)


@pytest.mark.parametrize(
    ("statement", "subject", "detail"),
    [
        ("UPDATE ledger_transaction SET amount_minor = amount_minor + 1 WHERE id = 6", "ledger seal 2", CHANGED),
        ("UPDATE ledger_transaction SET currency = 'USD' WHERE id = 1", "ledger seal 1", CHANGED),
        ("UPDATE ledger_transaction SET payment_id = gen_random_uuid() WHERE id = 9", "ledger seal 3", CHANGED),
        ("UPDATE ledger_transaction SET cause_id = gen_random_uuid() WHERE id = 9", "ledger seal 3", CHANGED),
        (
            "UPDATE ledger_transaction SET booked_at = booked_at + '1us'::interval WHERE id = 5",
            "ledger seal 2",
            CHANGED,
        ),
        ("DELETE FROM ledger_transaction WHERE id = 7", "ledger seal 2", "4 were sealed and there are 3"),
        ("DELETE FROM ledger_transaction", "ledger seal 1", "4 were sealed and there are 0"),
        (INSERT.format(11), "ledger seal 3", "3 were sealed and there are 4"),
        (INSERT.format(0), "ledger transaction 0", "before the first block"),
        ("UPDATE ledger_seal SET hash = repeat('0', 64) WHERE number = 2", "ledger seal 2", CHANGED),
        ("UPDATE ledger_seal SET hash = repeat('0', 64) WHERE number = 2", "ledger seal 3", "does not follow"),
        ("DELETE FROM ledger_seal WHERE number = 2", "ledger seal 3", "the seal before it is missing"),
        ("DELETE FROM ledger_seal WHERE number = 1", "ledger seal 2", "the seal before it is missing"),
    ],
    ids=(
        "amount",
        "currency",
        "payment",
        "cause",
        "time",
        "one_removed",
        "all_removed",
        "one_inserted",
        "one_before_all",
        "seal_replaced",
        "seal_after_a_replaced_one",
        "seal_removed",
        "first_seal_removed",
    ),
)
async def test_whatever_is_changed_is_named_with_its_block(
    till: Till, statement: str, subject: str, detail: str
) -> None:
    await book(till.database, 10)
    with contextlib.suppress(ZeroDivisionError):
        async with till.database.transaction() as tx:
            await book(tx)  # the id 11, which nobody has
            raise ZeroDivisionError
    await book(till.database)
    async with tampering(till) as owner:
        # The blocks are 1 to 4, 5 to 8, 9 to 12.
        await seal(till)
        assert await broken(till) == []
        await owner.execute(statement)
    assert any(subject == s and detail in d for s, d in await broken(till))


async def test_finance_reads_the_seals_page_by_page(till: Till) -> None:
    await book(till.database, 10)
    await seal(till)
    first = (await till.ask("GET", "/v1/ledger/seals?limit=2", by=till.finance)).json
    assert [each["number"] for each in first["items"]] == [3, 2]
    rest = (await till.ask("GET", f"/v1/ledger/seals?limit=2&cursor={first['next_cursor']}", by=till.finance)).json
    assert (rest["next_cursor"], [each["number"] for each in rest["items"]]) == (None, [1])
    chain = {each["number"]: each for each in first["items"] + rest["items"]}
    assert chain[3]["previous_hash"] == chain[2]["hash"]
    assert set(chain[1]) == {"number", "from_id", "to_id", "transactions", "previous_hash", "hash", "sealed_at"}
    unknown = new_id()
    assert (await till.ask("GET", f"/v1/ledger/seals?cursor={unknown}", by=till.finance)).status == 400
    for caller in (till.introduce(), till.support):
        assert (await till.ask("GET", "/v1/ledger/seals", by=caller)).status == 403
