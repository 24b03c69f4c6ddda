"""PostgreSQL and Valkey as the stack starts them: rights, durability settings, crashes, other users."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import asyncpg
import psutil
import pytest
import valkey.asyncio as client_of

from tests.stand_in import until
from tradewind.stack import unprivileged
from tradewind.stack.engines import PostgresEngine, ValkeyEngine
from tradewind.stack.errors import StackError
from tradewind.stack.memory import pss_mb
from tradewind.stack.postgres import find_binaries


async def test_a_room_may_use_its_database_and_its_owner_may_change_it(tmp_path: Path) -> None:
    async with PostgresEngine(tmp_path / "pg", durable=False) as postgres:
        order = await postgres.create_room("order")
        payment = await postgres.create_room("payment")
        owner, service = await asyncpg.connect(order.owner_url), await asyncpg.connect(order.url)
        await owner.execute("CREATE TABLE entry (id bigint GENERATED ALWAYS AS IDENTITY, amount int)")
        await service.execute("INSERT INTO entry (amount) VALUES (1)")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await service.execute("CREATE TABLE mine (id int)")
        await owner.execute("REVOKE UPDATE, DELETE ON entry FROM order_service")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await service.execute("DELETE FROM entry")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await asyncpg.connect(order.url, database="payment_service")
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(payment.url, password="wrong")
        again = await postgres.create_room("order")
        assert again.url != order.url  # a new password, the same data
        assert await (await asyncpg.connect(again.url)).fetchval("SELECT amount FROM entry") == 1


async def test_what_was_committed_survives_kill_9(tmp_path: Path) -> None:
    postgres = PostgresEngine(tmp_path / "pg", password="secret")
    await postgres.start()
    connection = await asyncpg.connect(postgres.admin_url)
    assert await connection.fetchval("SHOW fsync") == "on"
    assert await connection.fetchval("SHOW synchronous_commit") == "on"
    assert await connection.fetchval("SHOW idle_in_transaction_session_timeout") == "10s"
    await connection.execute("CREATE TABLE kept (id int); INSERT INTO kept VALUES (1)")
    assert postgres.pid is not None
    assert Path(f"/proc/{postgres.pid}/comm").read_text().strip() == "postgres"
    assert pss_mb(postgres.pid)[postgres.pid] > 5
    os.kill(postgres.pid, signal.SIGKILL)
    await until(lambda: psutil.Process(postgres.pid).status() == psutil.STATUS_ZOMBIE)
    await postgres.stop()
    await postgres.start()  # its backends may still be there: it waits for them
    assert await (await asyncpg.connect(postgres.admin_url)).fetchval("SELECT id FROM kept") == 1
    await postgres.stop()


async def test_it_starts_in_time_for_a_test(tmp_path: Path) -> None:
    began = time.monotonic()
    async with PostgresEngine(tmp_path / "pg", durable=False), ValkeyEngine(tmp_path / "valkey"):
        # 0.5 s alone; the machine may be busy with other tests.
        assert time.monotonic() - began < 5.0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs somebody else to run PostgreSQL")
async def test_without_user_namespaces_an_existing_user_runs_it(tmp_path: Path) -> None:
    environ = {**os.environ, "TRADEWIND_POSTGRES_USER": "nobody"}
    folder = tmp_path / "pg"
    try:
        async with PostgresEngine(folder, durable=False, environ=environ) as postgres:
            await postgres.create_room("order")
            assert psutil.Process(postgres.pid).username() == "nobody"
            assert folder.resolve().owner() == "nobody"
    finally:
        shutil.rmtree(folder.resolve(), ignore_errors=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs somebody else to run PostgreSQL")
def test_root_without_a_way_is_told_so() -> None:
    with pytest.raises(StackError, match="refuses to run as root"):
        unprivileged.disguise({"TRADEWIND_POSTGRES_USER": "nobody-of-that-name"})


def test_a_wrong_folder_of_binaries_is_named() -> None:
    with pytest.raises(StackError, match="TRADEWIND_POSTGRES_BIN=/nowhere"):
        find_binaries({"TRADEWIND_POSTGRES_BIN": "/nowhere"})


async def test_data_of_another_version_is_refused(tmp_path: Path) -> None:
    async with PostgresEngine(tmp_path / "pg", durable=False):
        pass
    (tmp_path / "pg" / "PG_VERSION").write_text("12\n")
    with pytest.raises(StackError, match="was made by PostgreSQL 12"):
        await PostgresEngine(tmp_path / "pg").start()


async def test_valkey_keeps_what_it_acknowledged_and_asks_for_its_password(tmp_path: Path) -> None:
    valkey = ValkeyEngine(tmp_path / "valkey", password="secret")
    async with valkey:
        client = client_of.Valkey.from_url(valkey.url)
        await client.set("key", "value")
        await client.aclose()
        with pytest.raises(client_of.AuthenticationError):
            await client_of.Valkey(port=valkey.port).get("key")
        command = Path(f"/proc/{psutil.Process().children()[-1].pid}/cmdline").read_text()
        assert "secret" not in command
    async with valkey:
        client = client_of.Valkey.from_url(valkey.url)
        assert await client.get("key") == b"value"
        await client.aclose()
