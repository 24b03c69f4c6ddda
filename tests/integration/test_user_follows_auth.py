"""Both rooms as real processes, the event bus between them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest_asyncio

from tests.conftest import RoomDatabase
from tests.integration.served_room import Answer, Keys
from tests.messaging_parts import until
from tradewind.chassis.transport.postgres import ensure_schema
from tradewind.stack.ports import free_port

PASSWORD = "correct horse battery staple"
ADMIN = "root@example.test"


class Platform:
    """auth-service and user-service."""

    def __init__(self, environ: dict[str, str], logs: Path) -> None:
        self._environ = environ
        self._logs = logs
        self._client = aiohttp.ClientSession()
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self.ports: dict[str, int] = {}

    async def start(self, room: str) -> None:
        """Run a room, and wait until it is ready."""
        self.ports[room], management = int(self._environ[f"{room.upper()}_PORT"]), free_port()
        with (self._logs / f"{room}.log").open("ab") as log:
            self._processes[room] = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tradewind.cli", "run", room),
                env={**self._environ, f"{room.upper()}_MANAGEMENT_PORT": str(management)},
                stdout=log,
                stderr=log,
            )

        async def ready() -> bool:
            assert self._processes[room].returncode is None, (self._logs / f"{room}.log").read_text()
            try:
                async with self._client.get(f"http://127.0.0.1:{management}/readyz") as answer:
                    return answer.status == 200
            except aiohttp.ClientError:
                return False

        await until(ready, within_s=30.0, what=f"{room} ready")

    async def stop(self, room: str) -> int:
        """End a room as an operator does; returns its exit code."""
        process = self._processes.pop(room)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            return await process.wait()

    async def close(self) -> None:
        await self._client.close()
        for process in self._processes.values():
            process.kill()
            await process.wait()

    async def call(self, room: str, method: str, path: str, json: Any = None, *, token: str = "") -> Answer:
        url = f"http://127.0.0.1:{self.ports[room]}{path}"
        headers = {"authorization": f"Bearer {token}"} if token else {}
        async with self._client.request(method, url, json=json, headers=headers) as answer:
            raw = await answer.read()
            return Answer(answer.status, {name.lower(): value for name, value in answer.headers.items()}, raw)

    async def log_in(self, email: str) -> Any:
        body = {"email": email, "password": PASSWORD}
        return (await self.call("auth", "POST", "/v1/auth/login", body)).json


@pytest_asyncio.fixture
async def platform(
    room_database: RoomDatabase, empty_database: Callable[[], Awaitable[str]], tmp_path: Path
) -> AsyncIterator[Platform]:
    auth, user, bus = await room_database("auth"), await room_database("user"), await empty_database()
    await ensure_schema(bus)
    auth_port, user_port = free_port(), free_port()
    environ = {
        "PATH": os.environ["PATH"],
        "BUS_URL": bus,
        "JWKS_URL": f"http://127.0.0.1:{auth_port}/.well-known/jwks.json",
        "AUTH_DATABASE_URL": auth.url,
        "AUTH_PORT": str(auth_port),
        "AUTH_SIGNING_KEYS_FILE": str(Keys(tmp_path).path),
        "TRADEWIND_ADMIN_EMAIL": ADMIN,
        "TRADEWIND_ADMIN_PASSWORD": PASSWORD,
        "USER_DATABASE_URL": user.url,
        "USER_PORT": str(user_port),
    }
    started = Platform(environ, tmp_path)
    try:
        yield started
    finally:
        await started.close()


async def test_what_is_said_of_a_user_in_one_room_is_known_in_the_other(platform: Platform) -> None:
    await platform.start("auth")
    admin = (await platform.log_in(ADMIN))["access_token"]
    body = {"email": "ada@example.test", "password": PASSWORD, "name": "Ada"}
    ada = (await platform.call("auth", "POST", "/v1/auth/register", body)).json
    user_id, token = ada["user"]["id"], ada["access_token"]
    # The events of these two wait: nobody hears yet.
    await platform.start("user")
    assert (await platform.call("user", "GET", "/v1/users/me", token=token)).json["id"] == user_id

    async def seen(expected: dict[str, Any]) -> None:
        async def agrees() -> bool:
            answer = await platform.call("user", "GET", f"/v1/users/{user_id}", token=admin)
            return answer.status == 200 and expected.items() <= answer.json.items()

        await until(agrees, within_s=15.0, what=str(expected))

    await seen({"email": "ada@example.test", "name": "Ada", "roles": ["customer"], "disabled": False})
    roles = {"roles": ["customer", "finance"]}
    assert (await platform.call("auth", "PUT", f"/v1/users/{user_id}/roles", roles, token=admin)).status == 200
    assert (await platform.call("auth", "POST", f"/v1/users/{user_id}/disable", token=admin)).status == 200
    assert (await platform.call("auth", "POST", f"/v1/users/{user_id}/enable", token=admin)).status == 200
    await seen({"roles": ["customer", "finance"], "disabled": False})

    assert (await platform.call("user", "PATCH", "/v1/users/me", {"name": "Countess"}, token=token)).status == 200

    async def renamed() -> bool:
        return bool((await platform.log_in("ada@example.test"))["user"]["name"] == "Countess")

    await until(renamed, within_s=15.0, what="the new name in auth-service")
    assert [await platform.stop("auth"), await platform.stop("user")] == [0, 0]
