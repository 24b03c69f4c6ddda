"""Engines for tests: the ones named by TEST_POSTGRES_URL and TEST_VALKEY_URL, else our own, one of each per test process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from tradewind.chassis.ids import new_id
from tradewind.chassis.migrations import migrate
from tradewind.stack import provision
from tradewind.stack.engines import KafkaEngine, PostgresEngine, ValkeyEngine
from tradewind.stack.errors import StackError
from tradewind.stack.ports import free_port

# How long an example takes says how busy the machine is, not whether the code is right.
hypothesis.settings.register_profile(
    "tradewind", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], database=None
)
hypothesis.settings.load_profile("tradewind")

ROOMS = Path(__file__).parents[1] / "src/tradewind/services"

RoomDatabase = Callable[[str], Awaitable[provision.RoomAccess]]


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """DSN of a superuser on a real PostgreSQL. Our own skips the disk flushes: tests kill processes, not the power."""
    if given := os.environ.get("TEST_POSTGRES_URL"):
        yield given
        return
    engine = PostgresEngine(tmp_path_factory.mktemp("postgres") / "data", durable=False)
    asyncio.run(engine.start())
    yield engine.admin_url
    asyncio.run(engine.stop())


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real Valkey."""
    if given := os.environ.get("TEST_VALKEY_URL"):
        yield given
        return
    engine = ValkeyEngine(tmp_path_factory.mktemp("valkey"))
    asyncio.run(engine.start())
    yield engine.url
    asyncio.run(engine.stop())


@pytest.fixture(scope="session")
def kafka_bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`host:port` of a real Apache Kafka, shared by all tests of the process."""
    if given := os.environ.get("KAFKA_BOOTSTRAP"):
        yield given
        return
    engine = KafkaEngine(tmp_path_factory.mktemp("kafka") / "kafka")
    _start_kafka(engine)
    yield engine.bootstrap
    asyncio.run(engine.stop())


@pytest.fixture(scope="module")
def kafka_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaEngine]:
    """A broker to be killed and cut off, for one file of tests; they start it again."""
    engine = KafkaEngine(tmp_path_factory.mktemp("kafka") / "kafka", proxy_port=free_port())
    _start_kafka(engine)
    yield engine
    asyncio.run(engine.stop())


def _start_kafka(engine: KafkaEngine) -> None:
    """In CI a broker that cannot be had is a failure; elsewhere its tests are reported as not run."""
    try:
        asyncio.run(engine.start())
    except StackError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"not run: {error}")


@pytest.fixture
def room_database(postgres_url: str) -> RoomDatabase:
    """`await room_database("order")` makes a migrated database of its own for one test, with the room's two roles."""

    async def make(room: str) -> provision.RoomAccess:
        # The roles of a room are global to a server, so every database of the room shares their passwords.
        access = await provision.create_room(
            postgres_url, room, password="runtime", owner_password="owner", database=f"t_{new_id().replace('-', '')}"
        )
        folder = ROOMS / room / "migrations"
        await migrate(access.owner_url, folder if folder.exists() else None)
        return access

    return make


@pytest.fixture
def empty_database(postgres_url: str) -> Callable[[], Awaitable[str]]:
    """`await empty_database()` makes an empty database for one test and returns its DSN."""

    async def make() -> str:
        name = f"t_{new_id().replace('-', '')}"
        await provision.create_database(postgres_url, name)
        return provision.url_for(postgres_url, *_admin(postgres_url), name)

    return make


def _admin(url: str) -> tuple[str, str]:
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    return parts.username or "postgres", parts.password or ""
