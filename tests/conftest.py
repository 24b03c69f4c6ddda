"""Engines for tests: the ones named by TEST_POSTGRES_URL and TEST_VALKEY_URL, else our own, one of each per test process."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.messaging_parts import Bus
from tradewind.chassis.ids import new_id
from tradewind.chassis.migrations import migrate
from tradewind.chassis.secrets.keys import KEY, KEY_BYTES
from tradewind.chassis.transport.postgres import ensure_schema
from tradewind.stack import provision
from tradewind.stack.consul import ConsulEngine, fetch
from tradewind.stack.engines import KafkaEngine, PostgresEngine, ValkeyEngine
from tradewind.stack.errors import StackError
from tradewind.stack.ports import free_port

# How long an example takes says how busy the machine is, not whether the code is right.
hypothesis.settings.register_profile(
    "tradewind", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], database=None
)
hypothesis.settings.load_profile("tradewind")

# State folders of tests are encrypted with a key of their own, and the user's is neither used nor made.
os.environ.setdefault(KEY, base64.b64encode(os.urandom(KEY_BYTES)).decode())

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
def shared_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaEngine | None]:
    """Our own Apache Kafka, one for all tests of the process; None where KAFKA_BOOTSTRAP names another."""
    if os.environ.get("KAFKA_BOOTSTRAP"):
        yield None
        return
    engine = KafkaEngine(tmp_path_factory.mktemp("kafka") / "kafka", proxy_port=free_port())
    _start_kafka(engine)
    yield engine
    asyncio.run(engine.stop())


@pytest.fixture(scope="session")
def kafka_bootstrap(shared_kafka: KafkaEngine | None) -> str:
    """`host:port` of a real Apache Kafka."""
    return shared_kafka.bootstrap if shared_kafka else os.environ["KAFKA_BOOTSTRAP"]


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


@pytest.fixture(scope="session")
def consul_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Consul agent that stays up: the one CONSUL_HTTP_ADDR names, else our own. Its keys and services are shared."""
    if given := os.environ.get("CONSUL_HTTP_ADDR"):
        yield f"consul://{given.removeprefix('http://')}"
        return
    request.getfixturevalue("consul_program")
    engine = ConsulEngine(tmp_path_factory.mktemp("consul") / "consul")
    asyncio.run(engine.start())
    yield engine.url
    asyncio.run(engine.stop())


@pytest.fixture(scope="session")
def consul_program() -> None:
    """What agents that tests start themselves run; in CI its absence is a failure, elsewhere such tests are not run."""
    try:
        fetch()
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


@pytest.fixture(params=["postgres", "kafka"])
def bus_server(request: pytest.FixtureRequest) -> str:
    """Where an empty bus can be made: a Kafka broker, or "" for our PostgreSQL."""
    return request.getfixturevalue("kafka_bootstrap") if request.param == "kafka" else ""


@pytest.fixture
async def bus(
    request: pytest.FixtureRequest, bus_server: str, empty_database: Callable[[], Awaitable[str]]
) -> AsyncIterator[Bus]:
    """An empty bus, of each implementation."""
    if bus_server:
        bus = Bus(f"kafka://{bus_server}/t{new_id()[-12:]}", request.getfixturevalue("shared_kafka"))
    else:
        url = await empty_database()
        await ensure_schema(url)
        bus = Bus(url)
    yield bus
    await bus.close()


def _admin(url: str) -> tuple[str, str]:
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    return parts.username or "postgres", parts.password or ""
