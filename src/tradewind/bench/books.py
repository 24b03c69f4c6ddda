"""Why the ledger and the inbox are kept the way they are: the usual ways beside ours, on one PostgreSQL, by what each costs.

The ledger, `WRITERS` sessions that book captures, each in a transaction of its own:

    entries    a transaction and two entries, and a trigger that sums them up at commit
    chained    a row that carries the hash of the row before: a writer waits for the writer before it
    ours       a row with two sides, hashed later by a job (the tables of payment-service)

The inbox: one consumer whose transactions take so many events each.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import asyncpg

from tradewind.bench.figures import Figure, Say, table
from tradewind.bench.sampling import cpu_seconds
from tradewind.chassis.ids import new_id
from tradewind.chassis.inbox import Inbox
from tradewind.chassis.migrations import migrate
from tradewind.chassis.postgres import Database
from tradewind.chassis.transport import Delivered
from tradewind.stack import provision
from tradewind.stack.engines import PostgresEngine
from tradewind.stack.rooms import migrations_of

WRITERS = 16
BOOKINGS_EACH = 1_000
EVENTS = 10_000
BATCHES = (1, 10, 100)

_ENTRIES = """
    CREATE TABLE account (code text PRIMARY KEY);
    INSERT INTO account VALUES ('psp_clearing'), ('sales');
    CREATE TABLE booking (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, cause text NOT NULL, cause_id uuid NOT NULL, payment_id uuid NOT NULL,
        currency text NOT NULL, booked_at timestamptz NOT NULL DEFAULT now(), UNIQUE (cause_id, cause)
    );
    CREATE INDEX ON booking (payment_id);
    CREATE TABLE entry (
        booking_id bigint NOT NULL REFERENCES booking, line smallint NOT NULL, account text NOT NULL REFERENCES account,
        amount_minor bigint NOT NULL, PRIMARY KEY (booking_id, line)
    );
    CREATE FUNCTION sums_to_zero() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF (SELECT sum(amount_minor) FROM entry WHERE booking_id = NEW.booking_id) <> 0 THEN
            RAISE EXCEPTION 'booking % does not sum to zero', NEW.booking_id;
        END IF;
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER zero AFTER INSERT ON entry DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION sums_to_zero();
"""
_BOOK_ENTRIES = """
    WITH booked AS (
        INSERT INTO booking (cause, cause_id, payment_id, currency) VALUES ('capture', $1, $1, 'EUR') RETURNING id
    )
    INSERT INTO entry SELECT id, line, account, amount
    FROM booked, (VALUES (1, 'psp_clearing', 1450), (2, 'sales', -1450)) AS sides (line, account, amount)
"""
_CHAINED = """
    CREATE TABLE head (one bool PRIMARY KEY DEFAULT true, hash bytea NOT NULL DEFAULT '');
    INSERT INTO head DEFAULT VALUES;
    CREATE TABLE booking (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, cause text NOT NULL, cause_id uuid NOT NULL, payment_id uuid NOT NULL,
        debit_account text NOT NULL, credit_account text NOT NULL, amount_minor bigint NOT NULL, currency text NOT NULL,
        booked_at timestamptz NOT NULL DEFAULT now(), hash bytea NOT NULL, UNIQUE (cause_id, cause)
    );
    CREATE INDEX ON booking (payment_id);
"""
_BOOK_CHAINED = """
    WITH link AS (
        UPDATE head SET hash = sha256(hash || convert_to($1::uuid::text || '|1450|EUR', 'UTF8')) RETURNING hash
    )
    INSERT INTO booking (cause, cause_id, payment_id, debit_account, credit_account, amount_minor, currency, hash)
    SELECT 'capture', $1, $1, 'psp_clearing', 'sales', 1450, 'EUR', hash FROM link
"""
_BOOK_OURS = """
    INSERT INTO ledger_transaction (cause, cause_id, payment_id, debit_account, credit_account, amount_minor, currency)
    VALUES ('capture', $1, $1, 'psp_clearing', 'sales', 1450, 'EUR')
"""
_EFFECT = "INSERT INTO effect (event_id) SELECT unnest($1::uuid[])"

Making = Callable[[str], Awaitable[None]]


class Cost(NamedTuple):
    """Of a stretch of work: time by the wall, and CPU of PostgreSQL with its sessions."""

    took_s: float
    cpu_s: float


async def measure(say: Say) -> list[Figure]:
    """Book, and take events, in each way; print what a booking and an event cost."""
    with tempfile.TemporaryDirectory(prefix="tradewind-books-") as folder:
        async with PostgresEngine(Path(folder) / "data") as engine:
            pid = int((Path(folder) / "data/postmaster.pid").read_text(encoding="ascii").split()[0])
            return [*await _ledgers(engine.admin_url, pid, say), *await _inboxes(engine.admin_url, pid, say)]


async def _ledgers(admin_url: str, pid: int, say: Say) -> list[Figure]:
    total = WRITERS * BOOKINGS_EACH
    rows, rate_by = [], {}
    for name, make, statement in (
        ("entries, summed at commit", _tables(_ENTRIES), _BOOK_ENTRIES),
        ("a row, chained", _tables(_CHAINED), _BOOK_CHAINED),
        ("a row, sealed later: ours", _ours, _BOOK_OURS),
    ):
        url = await _database(admin_url, make)
        cost, size_b = await _booked(url, statement, pid)
        rate_by[name] = total / cost.took_s
        rows.append((name, f"{rate_by[name]:,.0f}", f"{cost.cpu_s / total * 1e6:,.0f}", f"{size_b / total:,.0f}"))
    say(f"  {total:,} captures, {WRITERS} writers, a transaction each")
    for line in table(("the ledger", "bookings/s", "CPU of PostgreSQL, us", "bytes"), rows):
        say(line)
    return [
        Figure(name="bookings in our ledger", value=rate_by["a row, sealed later: ours"], unit="per s", better="more")
    ]


async def _booked(url: str, statement: str, pid: int) -> tuple[Cost, int]:
    """What all bookings cost, and what they weigh on disk with their indexes."""
    async with asyncpg.create_pool(url, min_size=WRITERS, max_size=WRITERS) as pool:
        weigh = "SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        empty_b = await pool.fetchval(weigh)

        async def writer() -> None:
            for _ in range(BOOKINGS_EACH):
                await pool.execute(statement, uuid.UUID(new_id()))

        cost = await _cost(asyncio.gather(*(writer() for _ in range(WRITERS))), pid)
        return cost, await pool.fetchval(weigh) - empty_b


async def _inboxes(admin_url: str, pid: int, say: Say) -> list[Figure]:
    rows, rates = [], []
    for batch in BATCHES:
        url = await _database(admin_url, _consumer)
        cost = await _taken(url, batch, pid)
        rates.append(EVENTS / cost.took_s)
        rows.append((f"{batch}", f"{rates[-1]:,.0f}", f"{cost.cpu_s / EVENTS * 1e6:,.0f}"))
    say(f"\n  {EVENTS:,} events, one consumer: inbox and effect in a transaction")
    for line in table(("events a transaction", "effects/s", "CPU of PostgreSQL, us"), rows):
        say(line)
    return [Figure(name=f"effects, {BATCHES[-1]} a transaction", value=rates[-1], unit="per s", better="more")]


async def _taken(url: str, batch: int, pid: int) -> Cost:
    inbox = Inbox("bench")
    events = [
        Delivered(topic="bench", key=f"k{n}", id=new_id(), type="bench.taken.v1", value=b"", partition=0, offset=n)
        for n in range(EVENTS)
    ]
    database = await Database.open(url, max_size=1)

    async def take() -> None:
        for start in range(0, EVENTS, batch):
            async with database.transaction() as tx:
                claimed = await inbox.claim(tx, events[start : start + batch])
                await tx.execute(_EFFECT, sorted(claimed.new))

    try:
        return await _cost(take(), pid)
    finally:
        await database.close()


async def _cost(work: Awaitable[object], pid: int) -> Cost:
    """Measured while the sessions are open: what a session used is nowhere between its end and its being reaped."""
    before_s, started_s = cpu_seconds(pid), time.perf_counter()
    await work
    return Cost(time.perf_counter() - started_s, cpu_seconds(pid) - before_s)


async def _database(admin_url: str, make: Making) -> str:
    name = f"books_{new_id()[-12:]}"
    await provision.create_database(admin_url, name)
    url = f"{admin_url.rpartition('/')[0]}/{name}"
    await make(url)
    return url


def _tables(statements: str) -> Making:
    async def make(url: str) -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statements)
        finally:
            await connection.close()

    return make


async def _ours(url: str) -> None:
    await migrate(url, migrations_of("payment"))


async def _consumer(url: str) -> None:
    await migrate(url, None)
    await _tables("CREATE TABLE effect (event_id uuid PRIMARY KEY)")(url)
