"""Prometheus metrics of one process, in a registry of its own.

    metrics = Metrics(service="order-service", instance="order-1", version="0.1.0")
    timer = metrics.route("GET", "/v1/orders/{id}")      # once, when the routes are built
    with timer.timing() as timing:                       # per request, about 3 microseconds
        timing.status = 200

Labels are of few kinds by construction: route templates, never paths; status classes, never codes; no ids.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import platform
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from importlib import metadata
from typing import TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics import MetricWrapperBase

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
DURATION_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LAG_BUCKETS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
LOOP_CHECK_S = 0.25

F = TypeVar("F", bound=MetricWrapperBase)

_STATUS_CLASSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")


class _Durations:
    """The durations of one kind of request by status class. A class that never occurred makes no series."""

    __slots__ = ("_histogram", "_labels", "_observe")

    def __init__(self, histogram: Histogram, *labels: str) -> None:
        self._histogram = histogram
        self._labels = labels
        self._observe: dict[int, Callable[[float], None]] = {}

    def observe(self, status: int, duration_s: float) -> None:
        """Count an answer with `status`; 0 is a request that got none."""
        number = status // 100 if 100 <= status < 600 else 0
        observe = self._observe.get(number)
        if observe is None:
            child = self._histogram.labels(*self._labels, _STATUS_CLASSES[number])
            observe = self._observe[number] = child.observe
        observe(duration_s)


class RouteTimer(_Durations):
    """Rate, errors and duration of one route, with its series looked up once."""

    __slots__ = ("active",)

    def __init__(self, histogram: Histogram, method: str, route: str) -> None:
        super().__init__(histogram, method, route)
        self.active = 0

    def timing(self) -> Timing:
        """The context in which one request is served; set its `status` before it ends."""
        return Timing(self)


class Timing:
    """One request being served. Left by an exception without a status, it counts as 500; cancelled, as unanswered."""

    __slots__ = ("_started_s", "_timer", "status")

    def __init__(self, timer: RouteTimer) -> None:
        self._timer = timer
        self._started_s = 0.0
        self.status = 0

    def __enter__(self) -> Timing:
        # Only the event loop's thread counts, so a plain integer will do; a scrape reads it.
        self._timer.active += 1
        self._started_s = time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, stack: object) -> None:
        self._timer.active -= 1
        if self.status == 0 and isinstance(exc, Exception):
            self.status = 500
        self._timer.observe(self.status, time.perf_counter() - self._started_s)


class CallMetrics(_Durations):
    """Rate, errors and duration of the calls to one neighbour with one method."""

    __slots__ = ()


class Metrics:
    """All metrics of one process. Each family exists once, however often it is asked for."""

    def __init__(self, *, service: str = "", instance: str = "", version: str = "") -> None:
        # The _created series double the size of a scrape and nothing here reads them.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._families: dict[str, MetricWrapperBase] = {}
        self._routes: dict[tuple[str, str], RouteTimer] = {}
        self._calls: dict[tuple[str, str], CallMetrics] = {}
        ProcessCollector(registry=self.registry)
        build = {
            "service": service,
            "instance": instance,
            "version": version or metadata.version("tradewind"),
            "python": platform.python_version(),
        }
        self.gauge("tradewind_build_info", "What runs here; always 1.", tuple(build)).labels(*build.values()).set(1)
        self._requests = self.histogram(
            "http_server_request_duration_seconds", "Requests served.", ("method", "route", "status")
        )
        self._client_calls = self.histogram(
            "http_client_request_duration_seconds", "Calls made.", ("target", "method", "status")
        )
        self.watch("http_server_in_flight_requests", "Requests being served now.", self._active)
        self._lag = self.histogram(
            "event_loop_lag_seconds", "How late the event loop runs what is due.", buckets=LAG_BUCKETS_S
        )

    def route(self, method: str, route: str) -> RouteTimer:
        """The metrics of a route template such as `/v1/orders/{id}`; for an unmatched path give `""`."""
        key = (method, route)
        found = self._routes.get(key)
        if found is None:
            found = self._routes[key] = RouteTimer(self._requests, method, route)
        return found

    def call(self, target: str, method: str) -> CallMetrics:
        """The metrics of calls to `target`, a service or a provider."""
        key = (target, method)
        found = self._calls.get(key)
        if found is None:
            found = self._calls[key] = CallMetrics(self._client_calls, target, method)
        return found

    def counter(self, name: str, meaning: str, labels: Sequence[str] = ()) -> Counter:
        """The counter `name` (Prometheus adds `_total`); `.labels(...)` it once, outside the hot path."""
        return self._family(Counter, name, lambda: Counter(name, meaning, labels, registry=self.registry))

    def gauge(self, name: str, meaning: str, labels: Sequence[str] = ()) -> Gauge:
        """The gauge `name`, set by whoever knows the value."""
        return self._family(Gauge, name, lambda: Gauge(name, meaning, labels, registry=self.registry))

    def histogram(
        self, name: str, meaning: str, labels: Sequence[str] = (), buckets: Sequence[float] = DURATION_BUCKETS_S
    ) -> Histogram:
        """The histogram `name`; buckets are upper bounds, in seconds unless the name says otherwise."""
        return self._family(
            Histogram, name, lambda: Histogram(name, meaning, labels, buckets=buckets, registry=self.registry)
        )

    def watch(
        self, name: str, meaning: str, read: Callable[[], float], labels: Mapping[str, str] | None = None
    ) -> None:
        """A gauge read at scrape time, in another thread: `read` must be quick and only look. A second one replaces."""
        names = tuple(labels or ())
        gauge = self.gauge(name, meaning, names)
        (gauge.labels(*(labels or {}).values()) if names else gauge).set_function(_safely(read))

    def watch_pool(self, read: Callable[[], tuple[int, int]], pool: str = "main") -> None:
        """The connections of a database pool; `read` gives those in use, and all that are open."""
        meaning = "Database connections by state."
        self.watch("db_pool_connections", meaning, lambda: read()[0], {"pool": pool, "state": "used"})
        self.watch("db_pool_connections", meaning, lambda: read()[1], {"pool": pool, "state": "open"})

    def watch_outbox(self, read: Callable[[], float]) -> None:
        """Events committed and not yet published."""
        self.watch("outbox_pending_events", "Events committed and not yet published.", read)

    def watch_consumer(self, group: str, topic: str, read: Callable[[], float]) -> None:
        """Events published on `topic` and not yet handled by `group`."""
        labels = {"group": group, "topic": topic}
        self.watch("consumer_lag_events", "Events published and not yet handled.", read, labels)

    @contextlib.asynccontextmanager
    async def loop_watch(self) -> AsyncIterator[None]:
        """Measure the lag of the running loop, four times a second, while the context lasts."""
        task = asyncio.create_task(self._measure_lag(), name="event loop lag")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def render(self) -> bytes:
        """The text format, made in a thread: 50 routes take 14 ms, which no request should wait for."""
        return await asyncio.to_thread(generate_latest, self.registry)

    async def _measure_lag(self) -> None:
        while True:
            due_s = time.monotonic() + LOOP_CHECK_S
            await asyncio.sleep(LOOP_CHECK_S)
            self._lag.observe(max(0.0, time.monotonic() - due_s))

    def _active(self) -> float:
        return sum(route.active for route in list(self._routes.values()))

    def _family(self, kind: type[F], name: str, make: Callable[[], F]) -> F:
        family = self._families.get(name)
        if family is None:
            family = self._families[name] = make()
        if not isinstance(family, kind):
            raise TypeError(f"{name} is a {type(family).__name__}, not a {kind.__name__}")
        return family


def _safely(read: Callable[[], float]) -> Callable[[], float]:
    """`read`, or not-a-number where it fails: one broken gauge must not take the whole scrape with it."""

    def value() -> float:
        try:
            return float(read())
        except Exception:
            return math.nan

    return value
