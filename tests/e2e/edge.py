"""The public door without a client's good manners: any method, path, header and body, and what a proper refusal looks like."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterable, Mapping
from typing import Any

import aiohttp
import msgspec
from multidict import CIMultiDict
from yarl import URL

PROBLEM = "application/problem+json"
TIMEOUT_S = 30.0
_CODE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_INSIDES = re.compile(rb"Traceback|asyncpg|SELECT |INSERT |site-packages|\.py\b|uvicorn|starlette", re.IGNORECASE)


class Answer(msgspec.Struct, frozen=True):
    """What came back; `headers` by their lower-case names."""

    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        """The JSON in it."""
        return msgspec.json.decode(self.raw)

    def faults(self, *wanted: int) -> list[str]:
        """What keeps this from being a proper refusal; with `wanted`, of one of these statuses."""
        if not 400 <= self.status < 500 or (wanted and self.status not in wanted):
            return [f"answered {self.status} {self.raw[:200]!r}"]
        if self.headers.get("content-type") != PROBLEM:
            return [f"{self.status} as {self.headers.get('content-type')}: {self.raw[:200]!r}"]
        problem = self.body
        found = [
            f"no {name}"
            for name in ("type", "title", "status", "detail", "code", "request_id")
            if not problem.get(name)
        ]
        if problem.get("status") != self.status:
            found.append(f"says {problem.get('status')} in a {self.status}")
        if not _CODE.fullmatch(problem.get("code", "")):
            found.append(f"code {problem.get('code')!r}")
        if "x-request-id" in self.headers and problem.get("request_id") != self.headers["x-request-id"]:
            found.append("two request ids")
        if _INSIDES.search(self.raw):
            found.append(f"shows our insides: {self.raw[:300]!r}")
        return found


class Edge:
    """Requests exactly as given, to one platform."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session = session
        self._port = port

    async def ask(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | CIMultiDict[str] | None = None,
        data: bytes | AsyncIterable[bytes] | None = None,
    ) -> Answer:
        """One request; `path` goes out as it is. A body is JSON unless `headers` say otherwise."""
        sent = CIMultiDict(headers or {})
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        if data is not None:
            sent.setdefault("content-type", "application/json")
        url = URL(f"http://127.0.0.1:{self._port}{path}", encoded=True)
        async with self._session.request(method, url, headers=sent, data=data, allow_redirects=False) as answer:
            raw = await answer.read()
            return Answer(answer.status, {name.lower(): value for name, value in answer.headers.items()}, raw)

    async def say(self, request: bytes) -> Answer:
        """Write bytes that are hardly HTTP to a connection of their own, and read what is said before it closes."""
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                writer.write(request)
                await writer.drain()
                head = await reader.readuntil(b"\r\n\r\n")
                status, *lines = head.decode("latin-1").split("\r\n")
                pairs = (line.partition(":") for line in lines if line)
                headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
                raw = await reader.readexactly(int(headers.get("content-length", "0")))
                return Answer(int(status.split()[1]), headers, raw)
            finally:
                writer.close()
