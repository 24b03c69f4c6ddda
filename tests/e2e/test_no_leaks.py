"""No secret, token, password or card number is written where it does not belong, whatever customers send and whatever fails.

A platform runs with every line and every span written. Each secret it holds, and each that customers hold, is then looked for
in all that it said: logs, traces, events, dead letters, answers, command lines.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import msgspec
import pytest

from tests.e2e.customers import PASSWORD, administrator, order_body, product
from tests.e2e.platforms import ADMIN_PASSWORD, audit, kill, rows, running, until_ready
from tests.e2e.provider import NORMAL, Provider
from tradewind.bench.platform import Platform
from tradewind.chassis.ids import new_id
from tradewind.chassis.signing import read_keys
from tradewind.stack.provision import room_access, url_for
from tradewind.stack.rooms import rooms_with_database
from tradewind.traffic.client import open_shop

CARD = "4000056655665556"
CANARIES = {
    "a wrong password": "canary-wrong-password-7391",
    "a password of a broken body": "canary-broken-body-7392",
    "a forged token": "canary-forged-token-7393",
    "a cookie": "canary-cookie-7394",
    "a webhook's body": "canary-webhook-7395",
    "an unknown field": "canary-unknown-field-7396",
    "a refresh token": "canary-refresh-token-7397",
    "a card number": CARD,
}
TABLES = ("outbox", "dead_letter")


class Collector:
    """An OTLP backend that keeps what came, as it came."""

    def __init__(self) -> None:
        self.received = bytearray()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                collector.received += self._body()
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def _body(self) -> bytes:
                if (length := self.headers["content-length"]) is not None:
                    return self.rfile.read(int(length))
                whole = bytearray()  # Envoy sends in chunks
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    whole += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return bytes(whole)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    found = Collector()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Platform]:
    """A platform that says all it can."""
    loud = {
        "LOG_LEVEL": "debug",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server.server_port}",
        "OTEL_TRACES_SAMPLER_ARG": "1",
    }
    with running(tmp_path_factory.mktemp("leaks"), loud) as platform:
        yield platform


class Customers:
    """What is sent, and all that is answered."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self.problems = bytearray()
        self.secrets: dict[str, str] = dict(CANARIES)

    async def send(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """One request with a canary wherever a client might put a secret; keeps the answer if it is a refusal."""
        data = body if isinstance(body, bytes | None) else msgspec.json.encode(body)
        sent = {"content-type": "application/json", "cookie": f"session={CANARIES['a cookie']}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._session.request(method, self._url + path, data=data, headers=sent) as answer:
            raw = await answer.read()
        if answer.status >= 400:
            self.problems += raw + repr(dict(answer.headers)).encode()
            return answer.status, None
        return answer.status, msgspec.json.decode(raw) if raw else None

    async def signed_in(self, path: str, body: Any) -> str:
        """Register or log in; notes both tokens as secrets and returns the access token."""
        _, answer = await self.send("POST", path, body)
        for kind in ("access_token", "refresh_token"):
            # A JWT's head is the same in all of them; what must not be seen is that it is signed.
            self.secrets[f"{kind} {len(self.secrets)}"] = answer[kind].rpartition(".")[2][-40:]
        return str(answer["access_token"])


@contextlib.asynccontextmanager
async def customers(platform: Platform) -> AsyncIterator[Customers]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        yield Customers(session, platform.url)


async def everything_that_can_go_wrong(platform: Platform, them: Customers, sku: str) -> list[str]:
    """Every flow that carries a secret, well and badly; the ids of the orders that were placed."""
    email, wrong = f"ada-{new_id()}@example.test", CANARIES["a wrong password"]
    token = await them.signed_in("/v1/auth/register", {"email": email, "password": PASSWORD, "name": "Ada"})
    token = await them.signed_in("/v1/auth/login", {"email": email, "password": PASSWORD})
    mine = {"authorization": f"Bearer {token}"}
    await them.send("POST", "/v1/auth/login", {"email": email, "password": wrong})
    await them.send("POST", "/v1/auth/login", {"email": wrong, "password": wrong})
    await them.send("POST", "/v1/auth/register", {"email": email, "password": wrong, "name": "Ada"})
    await them.send("POST", "/v1/auth/refresh", {"refresh_token": CANARIES["a refresh token"]})
    await them.send("POST", "/v1/auth/password/change", {"current_password": wrong, "new_password": wrong}, **mine)
    half = b'{"email": "x@example.test", "password": "%s", ' % CANARIES["a password of a broken body"].encode()
    for path in ("/v1/auth/login", "/v1/auth/register"):
        await them.send("POST", path, half)
        await them.send("POST", path, {"password": {"nested": CANARIES["an unknown field"]}, "card_number": CARD})
    forged = f"eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.{CANARIES['a forged token']}"
    for path in ("/v1/users/me", "/v1/orders", "/v1/payments", "/v1/notifications", "/v1/auth/sessions"):
        await them.send("GET", path, authorization=f"Bearer {forged}")
        await them.send("GET", path, authorization=f"Basic {CANARIES['a forged token']}")
    signature = "t=1,v1=" + CANARIES["a webhook's body"]
    await them.send(
        "POST", "/v1/payments/webhooks/sandbox", {"secret": CANARIES["a webhook's body"]}, webhook_signature=signature
    )
    orders = []
    methods = ("pm_card_visa", "pm_card_chargeDeclined", "pm_sandbox_timeout_charged", "pm_sandbox_flaky", CARD)
    for method in methods:
        body = {**order_body(sku), "payment_method": method}
        status, placed = await them.send("POST", "/v1/orders", body, **mine, idempotency_key=new_id())
        assert (status == 201) == (method != CARD), f"{method}: {status}"
        orders += [placed["id"]] if placed else []
    body = {**order_body(sku), "card": {"number": CARD, "cvc": "123"}}
    await them.send("POST", "/v1/orders", body, **mine, idempotency_key=new_id())
    return orders


async def what_it_wrote(platform: Platform) -> dict[str, bytes]:
    """All of it, by where it stands."""
    said = {f"log {path.name}": path.read_bytes() for path in platform.state.logs.iterdir()}
    said["ps"] = (platform.command("ps", "--format", "json") + platform.command("ps")).encode()
    said["dlq"] = platform.command("dlq", "ls", "--format", "json").encode()
    said["secrets ls"] = platform.command("secrets", "ls", "--format", "json").encode()
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            said[f"command line {process.parent.name}"] = process.read_bytes()
    for path in (platform.folder / "envoy").rglob("*"):
        if path.is_file():
            said[f"envoy {path.name}"] = path.read_bytes()
    secrets = platform.state.secrets()
    bus = await asyncpg.connect(url_for(platform.admin_url, "bus", secrets.get("bus"), "bus"))
    said["the bus"] = b"\n".join(repr(tuple(row)).encode() for row in await bus.fetch("SELECT * FROM log"))
    await bus.close()
    for room in rooms_with_database():
        login, password = secrets.login(room)
        url = room_access(platform.admin_url, room, password=password, owner_password="", login=login).url
        database = await asyncpg.connect(url)
        for table in TABLES:
            if await database.fetchval("SELECT to_regclass($1)", table):
                found = await database.fetch(f"SELECT * FROM {table}")
                said[f"{room}.{table}"] = b"\n".join(repr(tuple(row)).encode() for row in found)
        await database.close()
    return said


def held(platform: Platform) -> dict[str, str]:
    """What the platform itself must keep to itself."""
    store = platform.state.secrets().store()
    found = {entry.name: value.reveal() for entry in store.entries() if (value := store.find(entry.name))}
    _, keys = read_keys(platform.keys_file)
    pems = {f"signing key {key.kid}": key.pem.splitlines()[1][:40] for key in keys}
    return {**found, **pems, "the administrator's password": ADMIN_PASSWORD, "a customer's password": PASSWORD}


async def test_nothing_secret_is_written_anywhere(platform: Platform, collector: Collector) -> None:
    provider = Provider(platform)
    async with open_shop(platform.url) as shop, customers(platform) as them:
        admin = await administrator(shop)
        them.secrets["the administrator's token"] = admin.rpartition(".")[2][-40:]
        sku = await product(shop, admin, stock=1_000)
        orders = await everything_that_can_go_wrong(platform, them, sku)
        await provider.conditions(outage_s=2)
        orders += await everything_that_can_go_wrong(platform, them, sku)
        await provider.conditions(**NORMAL)
        for name in ("payment-1", "valkey", "psp-sandbox", "auth-1"):
            pid = await asyncio.to_thread(kill, platform, name)
            with contextlib.suppress(aiohttp.ClientError, TypeError):
                await them.send("POST", "/v1/auth/login", {"email": "x@example.test", "password": PASSWORD})
            await asyncio.to_thread(until_ready, platform, name, other_than=pid)
    await asyncio.to_thread(audit, platform)
    said = await what_it_wrote(platform)
    said |= {"traces": bytes(collector.received), "answers that refuse": bytes(them.problems)}
    assert all(row["ready"] for row in rows(platform).values())
    # The look itself works: what is no secret is found where it belongs.
    logged = b"".join(text for where, text in said.items() if where.startswith("log "))
    for text in (logged, said["the bus"]):
        assert orders[0].encode() in text
    assert b"/v1/orders" in said["traces"]
    assert b"invalid-credentials" in said["answers that refuse"] or b"credentials" in said["answers that refuse"]
    leaks = [
        f"{kind} in {where}"
        for kind, secret in {**held(platform), **them.secrets}.items()
        for where, text in said.items()
        if secret.encode() in text
    ]
    assert leaks == []
