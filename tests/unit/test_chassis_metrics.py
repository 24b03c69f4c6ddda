"""The metrics of a process: what a scrape shows."""

from __future__ import annotations

import asyncio
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tradewind.chassis.metrics import Metrics


async def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = (await metrics.render()).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_requests_are_counted_by_route_and_status_class() -> None:
    metrics = Metrics(service="order-service", instance="order-1", version="1.2.3")
    timer = metrics.route("GET", "/v1/orders/{id}")
    for status in (200, 201, 404, 503):
        with timer.timing() as timing:
            timing.status = status
    with pytest.raises(ValueError, match="x"), timer.timing():
        raise ValueError("x")
    with pytest.raises(asyncio.CancelledError), timer.timing():
        raise asyncio.CancelledError
    found = await samples(metrics)

    def count(status: str) -> float | None:
        labels = (("method", "GET"), ("route", "/v1/orders/{id}"), ("status", status))
        return found.get(("http_server_request_duration_seconds_count", labels))

    assert {status: count(status) for status in ("none", "2xx", "3xx", "4xx", "5xx")} == {
        "none": 1,
        "2xx": 2,
        "3xx": None,
        "4xx": 1,
        "5xx": 2,
    }


async def test_requests_in_flight_are_those_inside() -> None:
    metrics = Metrics()
    timer = metrics.route("GET", "/v1/a")
    assert metrics.route("GET", "/v1/a") is timer
    with timer.timing(), metrics.route("GET", "/v1/b").timing():
        assert (await samples(metrics))["http_server_in_flight_requests", ()] == 2
    assert (await samples(metrics))["http_server_in_flight_requests", ()] == 0


async def test_calls_and_watched_values_show() -> None:
    metrics = Metrics()
    metrics.call("user-service", "GET").observe(0, 2.0)
    metrics.watch_pool(lambda: (2, 3))
    metrics.watch_outbox(lambda: 7)
    metrics.watch_consumer("order-service", "payment", lambda: 9)
    metrics.watch("broken", "Fails.", lambda: 1 / 0)
    metrics.counter("things", "Things.", ("kind",)).labels("a").inc()
    metrics.counter("things", "Things.", ("kind",)).labels("a").inc()
    found = await samples(metrics)
    assert found["db_pool_connections", (("pool", "main"), ("state", "used"))] == 2
    assert found["db_pool_connections", (("pool", "main"), ("state", "open"))] == 3
    assert found["outbox_pending_events", ()] == 7
    assert found["consumer_lag_events", (("group", "order-service"), ("topic", "payment"))] == 9
    assert found["broken", ()] != found["broken", ()]
    assert found["things_total", (("kind", "a"),)] == 2
    labels = (("method", "GET"), ("status", "none"), ("target", "user-service"))
    assert found["http_client_request_duration_seconds_sum", labels] == 2.0


def test_a_name_means_one_kind() -> None:
    metrics = Metrics()
    metrics.counter("things", "Things.")
    with pytest.raises(TypeError, match="Counter"):
        metrics.gauge("things", "Things.")


async def test_two_processes_worth_of_metrics_do_not_meet() -> None:
    one, two = Metrics(), Metrics()
    one.counter("things", "Things.").inc()
    assert ("things_total", ()) not in await samples(two)


async def test_build_process_and_loop_show() -> None:
    metrics = Metrics(service="order-service", instance="order-1", version="1.2.3")
    async with metrics.loop_watch():
        async with asyncio.timeout(10):
            while True:
                if (await samples(metrics))["event_loop_lag_seconds_count", ()] >= 1:
                    break
                await asyncio.sleep(0.02)
    text = (await metrics.render()).decode()
    assert re.search(r'tradewind_build_info\{.*service="order-service",version="1.2.3"\} 1.0', text)
    assert "process_resident_memory_bytes" in text
    assert "_created" not in text
