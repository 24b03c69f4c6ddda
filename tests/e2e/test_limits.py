"""Rate limits as they are when nobody changes them, and what the edge never leads to."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import aiohttp
import psutil
import pytest

from tests.e2e.customers import newcomer
from tests.e2e.edge import TIMEOUT_S, Answer, Edge
from tests.e2e.platforms import DEFAULT_RATES, rows, running
from tradewind.bench.platform import Platform
from tradewind.traffic.client import open_shop

AT_ONCE = 50


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform as a user starts it."""
    with running(tmp_path_factory.mktemp("limits"), DEFAULT_RATES) as platform:
        yield platform


@contextlib.asynccontextmanager
async def from_address(platform: Platform, address: str) -> AsyncIterator[Edge]:
    """A client at a loopback address of its own: to the edge, somebody else."""
    connector = aiohttp.TCPConnector(local_addr=(address, 0), limit=AT_ONCE)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        yield Edge(session, platform.port)


async def flood(ask: Callable[[], Awaitable[Answer]], count: int) -> tuple[list[Answer], list[Answer], float]:
    """Ask `count` times as fast as it goes: who got through, who was told 429, and how many seconds it took."""
    started_s = time.perf_counter()
    gate = asyncio.Semaphore(AT_ONCE)

    async def one() -> Answer:
        async with gate:
            return await ask()

    answers = await asyncio.gather(*(one() for _ in range(count)))
    limited = [answer for answer in answers if answer.status == 429]
    through = [answer for answer in answers if answer.status != 429]
    return through, limited, time.perf_counter() - started_s


def is_told(limited: list[Answer], policy: str) -> None:
    """Every 429 is a problem that says how long to wait and what the limit is."""
    for answer in limited:
        assert answer.faults(429) == []
        assert answer.body["code"] == "rate-limited"
        assert int(answer.headers["retry-after"]) >= 1
        # What remains is read after the refusal, when the bucket may have got its next drop.
        assert re.fullmatch(r'"\w+";r=\d;t=\d+', answer.headers["ratelimit"])
        assert answer.headers["ratelimit-policy"] == policy


async def test_logins_of_one_address(platform: Platform) -> None:
    async def log_in() -> Answer:
        # Refused before a password is hashed: what is measured is the door, not the hashing behind it.
        return await edge.ask("POST", "/v1/auth/login", data=b'{"email": "ada@example.test"}')

    async with from_address(platform, "127.0.0.11") as edge:
        through, limited, took_s = await flood(log_in, 120)
        assert 50 <= len(through) <= 50 + 5 * (took_s + 1)
        assert {answer.status for answer in through} == {422}
        is_told(limited, '"auth";q=50;w=10')
        # Registering is the same door; everything else of this address is not concerned.
        assert (await edge.ask("POST", "/v1/auth/register", data=b"{}")).status == 429
        assert (await edge.ask("GET", "/v1/products")).status == 200
        async with asyncio.timeout(5):  # a bucket fills by five a second
            while (await log_in()).status == 429:
                await asyncio.sleep(0.05)
    async with from_address(platform, "127.0.0.12") as edge:
        assert (await log_in()).status == 422


async def test_one_address_without_a_token(platform: Platform) -> None:
    async def look() -> Answer:
        return await edge.ask("GET", "/v1/products")

    async with from_address(platform, "127.0.0.13") as edge:
        first = await look()
        assert first.headers["ratelimit-policy"] == '"default";q=200;w=2'
        assert re.fullmatch(r'"default";r=199;t=\d+', first.headers["ratelimit"])
        through, limited, took_s = await flood(look, 600)
        assert 199 <= len(through) <= 199 + 100 * (took_s + 1)
        assert {answer.status for answer in through} == {200}
        is_told(limited, '"default";q=200;w=2')
    async with from_address(platform, "127.0.0.14") as edge:
        assert (await look()).status == 200


async def test_one_subject_from_many_addresses(platform: Platform) -> None:
    async with open_shop(platform.url) as shop:
        ada, grace = await newcomer(shop), await newcomer(shop, "Grace")

    async with from_address(platform, "127.0.0.15") as one, from_address(platform, "127.0.0.16") as other:
        doors = [one, other]

        async def look() -> Answer:
            doors.reverse()
            return await doors[0].ask("GET", "/v1/users/me", token=ada.token)

        through, limited, took_s = await flood(look, 1_200)
        assert 400 <= len(through) <= 400 + 200 * (took_s + 1)
        assert {answer.status for answer in through} == {200}
        is_told(limited, '"default";q=400;w=2')
        assert (await one.ask("GET", "/v1/users/me", token=grace.token)).status == 200


INSIDE = (
    "/livez", "/readyz", "/readyz?verbose", "/metrics", "/healthz", "/v1/instances", "/v1/instances/order-1",
    "/v1/instances/order-1/lease", "/v1/mesh", "/v3/discovery:clusters", "/v3/discovery:routes", "/stats",
    "/stats/prometheus", "/config_dump", "/clusters", "/listeners", "/certs", "/server_info", "/quitquitquit",
    "/healthcheck/fail", "/logging", "/drain_listeners", "/ready", "/v1/charges", "/v1/_control", "/challenge/x",
)  # fmt: skip
HOSTS = ("order-service", "gateway-service", "payment-service", "control-plane", "localhost")


async def test_nothing_of_the_inside_is_reachable(platform: Platform) -> None:
    """Whatever a client calls the host: the edge looks at the path alone, and these lead nowhere."""
    faults = []
    async with from_address(platform, "127.0.0.17") as edge:
        for number, path in enumerate(INSIDE):
            for method in ("GET", "POST"):
                host = HOSTS[number % len(HOSTS)]
                answer = await edge.ask(method, path, headers={"host": host})
                faults += [f"{method} {host}{path}: {fault}" for fault in answer.faults(404)]
    ports = platform.state.ports()
    admin, control = ports["envoy"]["admin_port"], ports["gateway-1"]["control_port"]
    async with from_address(platform, "127.0.0.18") as edge:
        for port, path in (
            (admin, "/stats"),
            (control, "/v1/instances"),
            (ports["order-1"]["management_port"], "/metrics"),
        ):
            request = f"GET http://127.0.0.1:{port}{path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"
            answer = await edge.say(request.encode())
            faults += [f"a proxy request for {path}: {fault}" for fault in answer.faults(404)]
    assert faults == [], "\n".join(faults)


def test_everything_listens_on_loopback(platform: Platform) -> None:
    ours: set[int] = set()
    for row in rows(platform).values():
        process = psutil.Process(row["pid"])
        ours |= {process.pid, *(child.pid for child in process.children(recursive=True))}
    listening = {
        (connection.pid, connection.laddr.port): connection.laddr.ip
        for connection in psutil.net_connections("inet")
        if connection.pid in ours and connection.status == psutil.CONN_LISTEN and connection.laddr
    }
    assert len(listening) > 15
    assert set(listening.values()) == {"127.0.0.1"}, listening


async def test_the_registry_takes_nobody_without_a_rooms_identity(platform: Platform) -> None:
    port = platform.state.ports()["gateway-1"]["control_port"]
    async with aiohttp.ClientSession() as session:
        edge = Edge(session, port)
        for token in (None, "0" * 64, "admin"):
            for method, path in (
                ("GET", "/v1/instances"),
                ("POST", "/v1/instances"),
                ("DELETE", "/v1/instances/order-1"),
            ):
                answer = await edge.ask(method, path, token=token, data=b"{}" if method == "POST" else None)
                assert answer.status in (400, 401, 403, 422), f"{method} {path}: {answer.status}"
    assert rows(platform)["order-1"]["ready"]
