"""Spans over a real socket to a collector that is there, away, refusing, or frozen."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tradewind.chassis import otlp, trace


class Collector:
    """An OTLP/HTTP backend in threads of its own; keeps the names of the spans it took."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.services: set[str] = set()
        self.refusals: list[int] = []
        self.frozen = threading.Event()
        self.paths: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if collector.frozen.is_set():
                    threading.Event().wait(1.0)
                collector.paths.add(f"{self.path} {self.headers['content-type']}")
                status = collector.refusals.pop() if collector.refusals else 200
                if status == 200:
                    collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def take(self, request: ExportTraceServiceRequest) -> None:
        for resource_spans in request.resource_spans:
            values = {item.key: item.value.string_value for item in resource_spans.resource.attributes}
            self.services.add(f"{values['service.name']} {values['service.instance.id']}")
            self.names += [span.name for scope in resource_spans.scope_spans for span in scope.spans]


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture(autouse=True)
def _tracing_off() -> Iterator[None]:
    yield
    trace.configure(ratio=0.0, sink=None)


def exporter_to(endpoint: str, interval_s: float = 0.02, buffer_spans: int = 4_096) -> otlp.OtlpExporter:
    resource: dict[str, trace.AttributeValue] = {"service.name": "order-service", "service.instance.id": "order-1"}
    exporter = otlp.OtlpExporter(endpoint, resource, interval_s=interval_s, buffer_spans=buffer_spans, timeout_s=0.3)
    exporter.start()
    trace.configure(ratio=1.0, sink=exporter)
    return exporter


def spans(*names: str) -> None:
    for name in names:
        with trace.span(name):
            pass


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


async def test_spans_arrive(collector: Collector) -> None:
    exporter = exporter_to(collector.endpoint)
    spans("a", "b")
    await eventually(lambda: collector.names == ["a", "b"])
    spans("c")
    await eventually(lambda: collector.names == ["a", "b", "c"])
    assert collector.services == {"order-service order-1"}
    assert collector.paths == {"/v1/traces application/x-protobuf"}
    await asyncio.to_thread(exporter.stop)
    assert (exporter.exported, exporter.dropped) == (3, 0)


async def test_stop_sends_what_is_left(collector: Collector) -> None:
    exporter = exporter_to(collector.endpoint, interval_s=60)
    spans(*(f"s{number}" for number in range(1_000)))
    exporter.stop()
    assert len(collector.names) == 1_000
    exporter.stop()
    assert (exporter.exported, exporter.dropped) == (1_000, 0)


async def test_a_full_batch_does_not_wait_for_the_interval(collector: Collector) -> None:
    exporter = exporter_to(collector.endpoint, interval_s=60)
    spans(*("x" for _ in range(otlp.BATCH_SPANS)))
    await eventually(lambda: len(collector.names) >= otlp.BATCH_SPANS)
    await asyncio.to_thread(exporter.stop)


async def test_an_overloaded_collector_is_tried_again(collector: Collector) -> None:
    collector.refusals = [503, 429]
    exporter = exporter_to(collector.endpoint)
    spans("a")
    await eventually(lambda: collector.names == ["a"])
    await asyncio.to_thread(exporter.stop)
    assert exporter.dropped == 0


async def test_what_a_collector_will_never_take_is_dropped(collector: Collector) -> None:
    collector.refusals = [400]
    exporter = exporter_to(collector.endpoint)
    spans("bad")
    await eventually(lambda: exporter.dropped == 1)
    spans("good")
    await eventually(lambda: collector.names == ["good"])
    await asyncio.to_thread(exporter.stop)


async def test_a_collector_that_is_away_costs_a_request_nothing(collector: Collector) -> None:
    exporter = exporter_to("http://127.0.0.1:1", buffer_spans=100)
    slowest_s = 0.0
    for _ in range(1_000):
        started_s = time.perf_counter()
        spans("x")
        slowest_s = max(slowest_s, time.perf_counter() - started_s)
    assert slowest_s < 0.25  # less than a single time-out of the exporter
    assert exporter.dropped >= 800
    started_s = time.monotonic()
    exporter.stop(timeout_s=0.5)
    assert time.monotonic() - started_s < 1.0
    assert exporter.exported + exporter.dropped == 1_000


async def test_a_frozen_collector_does_not_hold_up_the_stop(collector: Collector) -> None:
    collector.frozen.set()
    exporter = exporter_to(collector.endpoint)
    spans("a")
    started_s = time.monotonic()
    exporter.stop(timeout_s=0.5)
    assert time.monotonic() - started_s < 1.0
    assert exporter.exported + exporter.dropped == 1
