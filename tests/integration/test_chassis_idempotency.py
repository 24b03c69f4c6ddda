"""Idempotent POSTs on a real PostgreSQL: one effect per key, whatever happens at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.conftest import RoomDatabase
from tradewind.chassis.errors import Conflict, Invalid, NotFound, Problem
from tradewind.chassis.idempotency import Answer, fingerprint, forget_old_keys, run_once
from tradewind.chassis.postgres import Database, Tx

PRINT = fingerprint("POST", "/v1/things", b"{}")


def refusal(problem: Problem) -> Answer:
    return Answer(problem.status, {}, problem.code.encode())


@pytest_asyncio.fixture
async def database(room_database: RoomDatabase) -> AsyncIterator[Database]:
    access = await room_database("thing")
    owner = await Database.open(access.owner_url)
    await owner.execute("CREATE TABLE effect (n int)")
    await owner.close()
    opened = await Database.open(access.url, max_size=10)
    yield opened
    await opened.close()


async def effect(tx: Tx) -> Answer:
    count = await tx.value("SELECT count(*) FROM effect")
    await tx.execute("INSERT INTO effect VALUES (1)")
    return Answer(201, {"location": "/v1/things/1"}, f"made {count}".encode())


async def once(database: Database, key: str = "k", attempt=effect, print_: bytes = PRINT) -> Answer:
    return await run_once(database, subject="alice", key=key, print_=print_, attempt=attempt, render_problem=refusal)


async def effects(database: Database) -> int:
    return int(await database.value("SELECT count(*) FROM effect"))


async def test_the_second_try_gets_the_first_answer(database: Database) -> None:
    first, second = await once(database), await once(database)
    assert (first.status, first.body, first.replayed) == (201, b"made 0", False)
    assert (second.status, second.body, second.replayed) == (201, b"made 0", True)
    assert second.headers == {"location": "/v1/things/1"}
    assert await effects(database) == 1


async def test_twenty_at_once_take_effect_once(database: Database) -> None:
    answers = await asyncio.gather(*(once(database) for _ in range(20)))
    assert {answer.body for answer in answers} == {b"made 0"}
    assert sum(not answer.replayed for answer in answers) == 1
    assert await effects(database) == 1


async def test_another_request_under_the_same_key_is_refused(database: Database) -> None:
    await once(database)
    with pytest.raises(Invalid) as refused:
        await once(database, print_=fingerprint("POST", "/v1/things", b'{"a":1}'))
    assert (refused.value.code, refused.value.status) == ("idempotency-key-reused", 422)
    assert await effects(database) == 1


async def test_a_duplicate_of_a_slow_request_is_told_that_it_runs(database: Database) -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def slow(tx: Tx) -> Answer:
        entered.set()
        await release.wait()
        return await effect(tx)

    first = asyncio.create_task(once(database, attempt=slow))
    await entered.wait()
    with pytest.raises(Conflict) as refused:
        await once(database)
    assert refused.value.code == "idempotency-in-progress"
    release.set()
    assert (await first).status == 201
    assert (await once(database)).replayed


async def test_a_domain_refusal_is_stored_and_leaves_no_effect(database: Database) -> None:
    async def refused(tx: Tx) -> Answer:
        await effect(tx)
        raise Conflict("out-of-stock")

    assert (await once(database, attempt=refused)).body == b"out-of-stock"
    again = await once(database)
    assert (again.status, again.body, again.replayed) == (409, b"out-of-stock", True)
    assert await effects(database) == 0


async def test_what_a_retry_may_change_is_not_stored(database: Database) -> None:
    async def invalid(tx: Tx) -> Answer:
        await effect(tx)
        raise Invalid("invalid")

    with pytest.raises(Invalid):
        await once(database, attempt=invalid)
    assert (await once(database)).status == 201
    assert await effects(database) == 1


async def test_a_crash_leaves_no_claim(database: Database) -> None:
    async def crash(tx: Tx) -> Answer:
        await effect(tx)
        raise RuntimeError("died")

    with pytest.raises(RuntimeError):
        await once(database, attempt=crash)
    assert await database.value("SELECT count(*) FROM idempotency_key") == 0
    assert (await once(database)).status == 201


async def test_keys_belong_to_their_caller(database: Database) -> None:
    await once(database)
    other = await run_once(database, subject="bob", key="k", print_=PRINT, attempt=effect, render_problem=refusal)
    assert not other.replayed


async def test_old_keys_are_forgotten_and_young_ones_kept(database: Database) -> None:
    await once(database, key="old")
    await once(database, key="young")
    await database.execute("UPDATE idempotency_key SET created_at = now() - interval '3 days' WHERE key = 'old'")
    assert await forget_old_keys(database) == 1
    assert (await once(database, key="young")).replayed


async def test_not_found_is_a_stored_refusal_too(database: Database) -> None:
    async def missing(_tx: Tx) -> Answer:
        raise NotFound("not-found")

    assert (await once(database, attempt=missing)).status == 404
    assert (await once(database, attempt=missing)).replayed
