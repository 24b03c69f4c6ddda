"""Ready, degraded, started: three answers to three questions, and none of them stands for another."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from tests.asgi import call
from tradewind.chassis.breaker import Breaker
from tradewind.chassis.circuit import FAILING_AFTER, Circuit
from tradewind.chassis.clock import ManualClock
from tradewind.chassis.errors import Unavailable
from tradewind.chassis.health import Readiness, management_app
from tradewind.chassis.metrics import Metrics


class Neighbour:
    def __init__(self) -> None:
        self.away = False

    async def check(self) -> None:
        if self.away:
            raise Unavailable("neighbour-unavailable", "It is away.")


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def readiness(metrics: Metrics) -> Readiness:
    return Readiness(metrics)


async def status(readiness: Readiness, metrics: Metrics, path: str) -> int:
    return (await call(management_app(readiness, metrics), "GET", path)).status


async def test_what_it_would_rather_have_makes_it_degraded_and_leaves_it_ready(
    readiness: Readiness, metrics: Metrics
) -> None:
    cache, readiness.started = Neighbour(), True
    readiness.prefer("cache", cache.check)
    cache.away = True
    answer = await call(management_app(readiness, metrics), "GET", "/readyz?verbose")
    assert (answer.status, answer.json["ready"], answer.json["degraded"]) == (200, True, ["cache"])
    assert answer.json["checks"]["cache"] == "neighbour-unavailable"
    assert await status(readiness, metrics, "/readyz") == 200
    assert 'service_degraded{part="cache"} 1.0' in (await metrics.render()).decode()
    cache.away = False
    assert (await readiness.report()).degraded == []
    assert 'service_degraded{part="cache"} 0.0' in (await metrics.render()).decode()


async def test_what_it_needs_makes_it_unready(readiness: Readiness, metrics: Metrics) -> None:
    database, readiness.started = Neighbour(), True
    readiness.need("database", database.check)
    assert await status(readiness, metrics, "/readyz") == 200
    database.away = True
    for path in ("/readyz", "/readyz?verbose"):
        assert await status(readiness, metrics, path) == 503
    assert await status(readiness, metrics, "/livez") == 200


async def test_once_started_it_has_started_also_while_it_drains(readiness: Readiness, metrics: Metrics) -> None:
    paths = ("/startupz", "/readyz", "/livez")
    assert [await status(readiness, metrics, path) for path in paths] == [503, 503, 200]
    readiness.started = True
    assert [await status(readiness, metrics, path) for path in paths] == [200, 200, 200]
    readiness.draining = True
    assert [await status(readiness, metrics, path) for path in paths] == [200, 503, 200]


async def test_the_metric_knows_also_where_nobody_asks(readiness: Readiness, metrics: Metrics) -> None:
    bus = Neighbour()
    bus.away = True
    readiness.prefer("bus", bus.check)
    watch = asyncio.create_task(readiness.watch())
    async with asyncio.timeout(5):
        while 'service_degraded{part="bus"} 1.0' not in (await metrics.render()).decode():
            await asyncio.sleep(0.01)
    watch.cancel()


async def test_a_circuit_tells_before_it_opens_and_until_it_closes(metrics: Metrics) -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    breaker = Breaker(least_calls=FAILING_AFTER + 1, open_s=5, probes=1, monotonic_s=clock.monotonic_s)
    circuit = Circuit("smtp", metrics, breaker)

    async def word() -> str:
        try:
            await circuit.check()
        except Unavailable as exc:
            return exc.code
        return "ok"

    def fail() -> None:
        permit = breaker.ask()
        assert permit is not None
        permit.failed()

    for _ in range(FAILING_AFTER - 1):
        fail()
    assert await word() == "ok"
    fail()
    assert await word() == "failing"
    fail()
    assert await word() == "circuit-open"
    clock.advance(6)
    probe = breaker.ask()
    assert (probe is not None, await word()) == (True, "circuit-half-open")
    if probe is not None:
        probe.succeeded()
    assert await word() == "ok"
