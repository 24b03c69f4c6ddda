"""The management door: `/livez`, `/readyz?verbose`, `/startupz`, `/metrics`. Never reachable through the edge.

A service is *ready* when it should get requests, and *degraded* when it serves without something it would rather have:
a cache, the bus (events wait in the outbox), a provider. Degraded never takes an instance out of rotation: all instances
share the neighbour that is away, and taking all of them out would turn a part that is missing into an outage.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from tradewind.chassis import logs
from tradewind.chassis.errors import Problem
from tradewind.chassis.metrics import Metrics

CHECK_TIMEOUT_S = 2.0
WATCH_EVERY_S = 5.0
OK = "ok"

Check = Callable[[], Awaitable[None]]
_log = logs.get_logger("health")


class Report(msgspec.Struct, frozen=True):
    """Whether the service should get requests, what it does without just now, and a word for each thing looked at."""

    ready: bool
    degraded: list[str]
    checks: dict[str, str]


class Readiness:
    """Whether the service should get requests: started and registered, not draining, and its needs are met.

    `need(name, check)` adds what it cannot answer without, `prefer(name, check)` what it can do without for a while. A check
    raises when the thing is away.
    """

    def __init__(self, metrics: Metrics | None = None) -> None:
        self.started = False
        self.draining = False
        self._metrics = metrics or Metrics()
        self._needs: dict[str, Check] = {}
        self._wishes: dict[str, Check] = {}
        # The last word on each wish, for the gauges, which are read in another thread.
        self._words: dict[str, str] = {}

    def need(self, name: str, check: Check) -> None:
        """Add something the service cannot answer without."""
        self._needs[name] = check

    def prefer(self, name: str, check: Check) -> None:
        """Add something whose absence makes the service degraded, and leaves it ready."""
        self._wishes[name] = check
        self._metrics.watch(
            "service_degraded",
            "1 while the service works without this part.",
            lambda: int(self._words.get(name, OK) != OK),
            {"part": name},
        )

    async def ready(self) -> bool:
        """Whether it should get requests; asks only what it needs."""
        return self.started and not self.draining and all(word == OK for word in (await _words(self._needs)).values())

    async def report(self) -> Report:
        """Ask everything, all at once; takes `CHECK_TIMEOUT_S` at most."""
        state = {"started": OK if self.started else "starting", "draining": "yes" if self.draining else OK}
        needs, wishes = await asyncio.gather(_words(self._needs), self.look())
        ready = all(word == OK for word in (*state.values(), *needs.values()))
        degraded = [name for name, word in wishes.items() if word != OK]
        return Report(ready, degraded, {**state, **needs, **wishes})

    async def look(self) -> Mapping[str, str]:
        """Ask what the service would rather have, and keep the words for the metrics. A change is logged."""
        found = await _words(self._wishes)
        for name, word in found.items():
            before = self._words.get(name, OK)
            if (word == OK) != (before == OK):
                _log.warning("degraded" if word != OK else "no longer degraded", part=name, word=word)
        self._words = found
        return found

    async def watch(self) -> None:
        """Look again and again, until cancelled, so that metrics and log know also where nobody asks."""
        while True:
            await self.look()
            await asyncio.sleep(WATCH_EVERY_S)


async def _words(checks: Mapping[str, Check]) -> dict[str, str]:
    words = await asyncio.gather(*map(_word, checks.values()))
    return dict(zip(checks, words, strict=True))


async def _word(check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            await check()
    except Problem as problem:
        return problem.code
    except Exception as exc:
        return type(exc).__name__
    return OK


def management_app(readiness: Readiness, metrics: Metrics, also: Sequence[Route] = ()) -> ASGIApp:
    """The four endpoints, and `also` others. `/livez` depends on nothing but the event loop.

    `/startupz` is 503 until the service was ready to register and is known, and 200 from then on, also while it drains.
    """

    async def livez(_request: Request) -> Response:
        return Response("ok", media_type="text/plain")

    async def readyz(request: Request) -> Response:
        if "verbose" in request.query_params:
            report = await readiness.report()
            return Response(msgspec.json.encode(report), 200 if report.ready else 503, media_type="application/json")
        ready = await readiness.ready()
        return Response("ok" if ready else "not ready", 200 if ready else 503, media_type="text/plain")

    async def startupz(_request: Request) -> Response:
        started = readiness.started
        return Response("ok" if started else "starting", 200 if started else 503, media_type="text/plain")

    async def prometheus(_request: Request) -> Response:
        return Response(await metrics.render(), media_type="text/plain; version=0.0.4")

    paths = {"/livez": livez, "/readyz": readyz, "/startupz": startupz, "/metrics": prometheus}
    return Starlette(routes=[*(Route(path, answer) for path, answer in paths.items()), *also])
