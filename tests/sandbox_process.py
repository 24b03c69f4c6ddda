"""The sandbox provider as tests use it: the real process on a free port, and a client that speaks its API."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

API_KEY = "sk_sandbox_0123456789abcdef"
WEBHOOK_SECRET = "whsec_0123456789abcdef"
START_S = 15.0
STOP_S = 15.0


class Reply(msgspec.Struct):
    """What the provider answered; header names in any case."""

    status: int
    headers: Mapping[str, str]
    body: Any


class Sandbox:
    """One process over one state folder; `start` and `kill` it as often as needed, the port stays."""

    def __init__(self, state: Path, **settings: str) -> None:
        """`settings` are variables without their prefix: `LATENCY_MS="0"`."""
        self.state = state
        self.port = 0
        self.lines: list[dict[str, Any]] = []
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._http: aiohttp.ClientSession | None = None

    @property
    def url(self) -> str:
        """Base address of the API."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process itself."""
        assert self._process is not None
        return self._process.pid

    def environment(self) -> dict[str, str]:
        """What the process is started with."""
        given = {"STATE": str(self.state), "API_KEY": API_KEY, "WEBHOOK_SECRET": WEBHOOK_SECRET, "PORT": str(self.port)}
        given |= {"LATENCY_MS": "0"} | self._settings
        own = {f"PSP_SANDBOX_{name}": value for name, value in given.items()}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PSP_SANDBOX_")}
        return inherited | own | {"TRADEWIND_ENV": "dev"}

    async def start(self) -> None:
        """Return once it listens."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tradewind.sandbox", env=self.environment(), stdout=asyncio.subprocess.PIPE
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(START_S):
            async for raw in self._process.stdout:
                line = json.loads(raw)
                self.lines.append(line)
                if line["event"] == "listening":
                    self.port = line["port"]
                    break
            else:
                raise AssertionError("the sandbox did not start")
        self._reading = asyncio.create_task(self._read(self._process.stdout))

    async def kill(self) -> None:
        """kill -9."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        return await self._end(signal.SIGTERM)

    async def close(self) -> None:
        """End the process, if it still runs, and the client."""
        if self._process is not None and self._process.returncode is None:
            await self.kill()
        if self._http is not None:
            await self._http.close()

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = None,
        api_key: str | None = API_KEY,
        timeout_s: float = 10.0,
    ) -> Reply:
        """One request. Raises aiohttp.ClientError or TimeoutError when there is no answer."""
        if self._http is None:
            connector = aiohttp.TCPConnector(limit=64, force_close=False)
            self._http = aiohttp.ClientSession(connector=connector)
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        if key is not None:
            headers["Idempotency-Key"] = key
        data = body if isinstance(body, bytes) else None if body is None else msgspec.json.encode(body)
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        async with self._http.request(method, self.url + path, data=data, headers=headers, timeout=timeout) as answer:
            raw = await answer.read()
            is_json = answer.content_type == "application/json"
            return Reply(answer.status, answer.headers, json.loads(raw) if is_json else raw.decode())

    async def charge(self, key: str, payment_method: str = "pm_card_visa", **changes: Any) -> Reply:
        """POST /v1/charges of 19.99 EUR, reference `ref-KEY`."""
        timeout_s = changes.pop("timeout_s", 10.0)
        return await self.call(
            "POST", "/v1/charges", charge_body(key, payment_method, **changes), key=key, timeout_s=timeout_s
        )

    async def charges(self, **filters: str) -> list[dict[str, Any]]:
        """All charges, page by page."""
        found: list[dict[str, Any]] = []
        query = "&".join(f"{name}={value}" for name, value in filters.items())
        cursor = ""
        while True:
            page = (await self.call("GET", f"/v1/charges?limit=100&{query}{cursor}")).body
            found += page["items"]
            if page["next_cursor"] is None:
                return found
            cursor = f"&after={page['next_cursor']}"

    async def _end(self, number: int) -> int:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        async with asyncio.timeout(STOP_S):
            code = await self._process.wait()
            if self._reading is not None:
                await self._reading
        return code

    async def _read(self, stream: asyncio.StreamReader) -> None:
        async for raw in stream:
            with contextlib.suppress(ValueError):  # a line that kill -9 cut
                self.lines.append(json.loads(raw))


def charge_body(key: str, payment_method: str = "pm_card_visa", **changes: Any) -> dict[str, Any]:
    """Body of a charge of 19.99 EUR with the reference `ref-KEY`."""
    return {
        "amount_minor": 1999,
        "currency": "EUR",
        "payment_method": payment_method,
        "reference": f"ref-{key}",
        "metadata": {"order_id": f"order-{key}"},
    } | changes


@contextlib.asynccontextmanager
async def running_sandbox(state: Path, **settings: str) -> AsyncIterator[Sandbox]:
    """A started sandbox, ended at the end."""
    sandbox = Sandbox(state, **settings)
    try:
        await sandbox.start()
        yield sandbox
    finally:
        await sandbox.close()
