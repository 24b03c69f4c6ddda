"""Every command of docker-compose.yml, started as it is written there: databases made, all healthy, an order paid, drained."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from tests.compose_here import BIN, Here, resolved
from tradewind.deploy.containers import every_container
from tradewind.deploy.secret_files import secret_names, write_secrets
from tradewind.stack import probe
from tradewind.stack.administrator import DEFAULT_EMAIL
from tradewind.stack.engines import PostgresEngine
from tradewind.stack.gate import GATE
from tradewind.stack.rooms import all_rooms
from tradewind.traffic.client import open_shop

ROOMS = [f"{room}-service" for room in all_rooms() if room != "gateway"]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    """All of docker-compose.yml but its PostgreSQL, whose roles are the platform's own: so it gets a server of its own."""
    folder = tmp_path_factory.mktemp("compose")
    secrets = folder / "secrets"
    secrets.mkdir()
    postgres = PostgresEngine(folder / "postgres", durable=False)
    asyncio.run(postgres.start())
    here = Here(resolved(secrets), folder)
    # As docs/operating/deploy.md says it is done for an engine of one's own: its address first, then the rest.
    (secrets / "postgres_url").write_text(postgres.admin_url)
    (secrets / "notification_smtp_url").write_text(f"smtp://127.0.0.1:{here.port('mailpit', 1025)}")
    (secrets / "valkey_password").write_text("hush")
    (secrets / "valkey_url").write_text(f"redis://:hush@127.0.0.1:{here.port('valkey', 6379)}/0")
    write_secrets(secrets, secret_names(every_container(all_rooms())), all_rooms())
    with here.cleared():
        yield here
    asyncio.run(postgres.stop())


def test_migrate_makes_what_is_missing_and_may_be_repeated(platform: Here) -> None:
    behind = platform.run("order-service", ["tradewind", "migrate", "order", "--check"])
    assert behind.returncode == 1, "a pod's init container waits for the migrations"
    for said in (b"applied", b"up to date"):
        done = platform.run("migrate")
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout.count(said) == len(ROOMS) + 1, done.stdout.decode()
    for name in ROOMS:
        ahead = platform.run(name, ["tradewind", "migrate", name.removesuffix("-service"), "--check"])
        assert ahead.returncode == 0, ahead.stderr.decode()


def test_every_service_becomes_healthy(platform: Here) -> None:
    platform.start("valkey")
    deadline = time.monotonic() + 10
    while not asyncio.run(probe.valkey("127.0.0.1", platform.port("valkey", 6379), "hush")):
        assert time.monotonic() < deadline, platform.log("valkey").read_text()
        time.sleep(0.02)
    for name in ("psp-sandbox", "gateway-service", *ROOMS):
        platform.start(name)
    for name in ("psp-sandbox", "gateway-service", *ROOMS):
        platform.wait_until_healthy(name)


async def test_each_is_registered_under_an_address_and_a_name_of_its_own(platform: Here) -> None:
    token = platform.environment("order-service")["REGISTRY_TOKEN_FILE"]
    url = f"{platform.environment('order-service')['REGISTRY_URL']}/v1/instances"
    async with aiohttp.ClientSession() as session:
        headers = {"authorization": f"Bearer {Path(token).read_text().strip()}"}
        async with session.get(url, headers=headers) as answer:
            found: list[dict[str, Any]] = (await answer.json())["items"]
    assert {item["service"] for item in found} == set(ROOMS)
    assert {item["address"] for item in found} == {"127.0.0.1"}, "not 0.0.0.0, where it listens"
    assert all(item["instance"].startswith(f"{item['room']}-") for item in found)


async def test_an_order_is_paid(platform: Here) -> None:
    password = Path(platform.environment("auth-service")["TRADEWIND_ADMIN_PASSWORD_FILE"]).read_text().strip()
    async with open_shop(f"http://127.0.0.1:{platform.port('gateway-service', 8080)}") as shop:
        login = await shop.call("POST", "/v1/auth/login", body={"email": DEFAULT_EMAIL, "password": password})
        await shop.create_product(login.body["access_token"], "compass", "Compass", 1_900, 3)
        shopper = await shop.register("ada@example.test", "a sailor went to sea, sea, sea", "Ada")
        order = await shop.place_order(shopper, [("compass", 1)], "pm_card_visa")
        assert (await shop.settled(shopper.token, order["id"]))["status"] == "confirmed"


def test_the_audit_finds_the_books_in_order(platform: Here) -> None:
    done = platform.run("audit")
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    report = json.loads(done.stdout)
    assert (report["clean"], report["complete"], report["settled"], report["not_seen"]) == (True, True, True, [])


def test_on_sigterm_each_drains_and_ends_well(platform: Here) -> None:
    for wave in (ROOMS, ["psp-sandbox", "gateway-service", "valkey"]):
        assert platform.stop(*wave) == dict.fromkeys(wave, 0)


_PROCESS_1 = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")


@pytest.fixture
def alone() -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    """order-service as process 1 of a process namespace, at its gate: loaded, and not yet opened."""
    if subprocess.run([*_PROCESS_1, "true"], capture_output=True, check=False).returncode:
        pytest.skip("not run: this machine gives no process namespace")
    ours, its = socket.socketpair()
    environ = {**os.environ, GATE: str(its.fileno()), "ORDER_DATABASE_URL": "postgresql://a:b@127.0.0.1:1/c"}
    process = subprocess.Popen(
        [*_PROCESS_1, BIN / "tradewind", "run", "order"], env=environ, pass_fds=[its.fileno()], stdout=subprocess.PIPE
    )
    with ours, its, process:
        yield process, ours
        process.kill()


def test_as_process_1_it_hears_sigterm_while_it_starts(alone: tuple[subprocess.Popen[bytes], socket.socket]) -> None:
    """To process 1 the kernel delivers only signals with a handler: for that, many an image carries an init."""
    process, gate = alone
    assert gate.recv(1), "it has loaded its code and waits"
    psutil.Process(process.pid).children()[0].send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


def test_as_process_1_it_hears_sigterm_while_its_database_is_away(
    alone: tuple[subprocess.Popen[bytes], socket.socket],
) -> None:
    process, gate = alone
    gate.recv(1)
    gate.send(b"g")
    assert process.stdout is not None
    while b"database-unavailable" not in process.stdout.readline():
        assert process.poll() is None
    psutil.Process(process.pid).children()[0].send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
