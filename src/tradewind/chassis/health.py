"""The management door: `/livez`, `/readyz?verbose`, `/metrics`. Never reachable through the edge."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from tradewind.chassis.errors import Problem
from tradewind.chassis.metrics import Metrics

CHECK_TIMEOUT_S = 2.0

Check = Callable[[], Awaitable[None]]


class Readiness:
    """Whether the service should get requests: started and registered, not draining, and its needs are met.

    `need(name, check)` adds what it cannot work without; a check raises when the thing is away. A service that can do
    without a thing (the cache) does not list it.
    """

    def __init__(self) -> None:
        self.started = False
        self.draining = False
        self._checks: dict[str, Check] = {}

    def need(self, name: str, check: Check) -> None:
        """Add something the service cannot answer without."""
        self._checks[name] = check

    async def report(self) -> tuple[bool, dict[str, str]]:
        """Ready or not, and a word for each need: `ok`, or why not."""
        words = {"started": "ok" if self.started else "starting", "draining": "yes" if self.draining else "ok"}
        for name, check in self._checks.items():
            words[name] = await _word(check)
        return all(word == "ok" for word in words.values()), words


async def _word(check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            await check()
    except Problem as problem:
        return problem.code
    except Exception as exc:
        return type(exc).__name__
    return "ok"


def management_app(readiness: Readiness, metrics: Metrics) -> ASGIApp:
    """The three endpoints. `/livez` depends on nothing but the event loop."""

    async def livez(_request: Request) -> Response:
        return Response("ok", media_type="text/plain")

    async def readyz(request: Request) -> Response:
        ready, words = await readiness.report()
        body = msgspec.json.encode({"ready": ready, "checks": words}) if "verbose" in request.query_params else b""
        return Response(body or ("ok" if ready else "not ready"), 200 if ready else 503, media_type="application/json")

    async def prometheus(_request: Request) -> Response:
        return Response(await metrics.render(), media_type="text/plain; version=0.0.4")

    return Starlette(routes=[Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", prometheus)])
