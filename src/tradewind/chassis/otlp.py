"""Finished spans to an OTLP/HTTP backend: official protobuf, in batches, from a thread of its own.

Nothing here may slow a request down: `offer` appends to a bounded buffer and returns. While the backend is away the
buffer fills, and what does not fit is dropped and counted.
"""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from importlib import metadata
from urllib.parse import urlsplit

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2 as pb

from tradewind.chassis.trace import AttributeValue, Span, TraceContext

BUFFER_SPANS = 4_096
BATCH_SPANS = 256
INTERVAL_S = 1.0
TIMEOUT_S = 2.0
FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 10.0

# Source: https://opentelemetry.io/docs/specs/otlp/#failures-1; any other status means this batch will never be taken.
_RETRYABLE = frozenset({429, 502, 503, 504})

_KINDS = {
    "internal": pb.Span.SPAN_KIND_INTERNAL,
    "server": pb.Span.SPAN_KIND_SERVER,
    "client": pb.Span.SPAN_KIND_CLIENT,
    "producer": pb.Span.SPAN_KIND_PRODUCER,
    "consumer": pb.Span.SPAN_KIND_CONSUMER,
}


class OtlpExporter:
    """A span sink that sends to `{endpoint}/v1/traces`. Built, then `start`ed; `stop` sends what is left."""

    def __init__(
        self,
        endpoint: str,
        resource: Mapping[str, AttributeValue],
        *,
        headers: Mapping[str, str] | None = None,
        buffer_spans: int = BUFFER_SPANS,
        interval_s: float = INTERVAL_S,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """`resource` describes this process: `service.name`, `service.instance.id`, `service.version`."""
        self._backend = _Backend(endpoint, headers or {}, timeout_s)
        self._resource = Resource(attributes=_key_values(resource))
        self._buffer: deque[Span] = deque()
        self._buffer_spans = buffer_spans
        self._interval_s = interval_s
        self._wake = threading.Event()
        self._stopping = False
        self._deadline_s = float("inf")
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)
        self.exported = 0
        self.dropped = 0

    def start(self) -> None:
        """Begin to send, in a daemon thread."""
        self._thread.start()

    def offer(self, span: Span) -> None:
        """Take a finished span, or drop and count it when the buffer is full. Never blocks, never raises."""
        if len(self._buffer) >= self._buffer_spans:
            self.dropped += 1
            return
        self._buffer.append(span)
        if len(self._buffer) == BATCH_SPANS:
            self._wake.set()

    def stop(self, timeout_s: float = TIMEOUT_S) -> None:
        """Send what is buffered and end the thread; what is unsent after `timeout_s` is dropped.

        Blocks, so not for an event loop. Calling it again, or before `start`, does nothing.
        """
        if self._stopping or self._thread.ident is None:
            return
        self._deadline_s = time.monotonic() + timeout_s
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout_s + 0.1)
        self.dropped += len(self._buffer)
        self._buffer.clear()

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(self._interval_s)
            self._wake.clear()
            self._drain()
        self._drain()
        self._backend.close()

    def _drain(self) -> None:
        while batch := self._take():
            if self._send(encode(self._resource, batch)):
                self.exported += len(batch)
            else:
                self.dropped += len(batch)

    def _take(self) -> list[Span]:
        return [self._buffer.popleft() for _ in range(min(BATCH_SPANS, len(self._buffer)))]

    def _send(self, body: bytes) -> bool:
        """Send until taken or refused; once stopping, only until the deadline. The back-off ends early at `stop`."""
        backoff_s = FIRST_BACKOFF_S
        while True:
            left_s = self._deadline_s - time.monotonic()
            if left_s <= 0:
                return False
            status = self._backend.post(body, left_s)
            if status is not None and status not in _RETRYABLE:
                return 200 <= status < 300
            if self._stopping:
                return False
            self._pause(backoff_s)
            backoff_s = min(backoff_s * 2, MAX_BACKOFF_S)

    def _pause(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        while not self._stopping and (left_s := until_s - time.monotonic()) > 0:
            # A filling buffer wakes us too; only the end of the process may cut a back-off short.
            self._wake.wait(left_s)
            self._wake.clear()


def start(endpoint: str, *, service: str, instance: str, version: str = "") -> OtlpExporter | None:
    """A running exporter for this process, or None where no endpoint is set.

    Raises:
        ValueError: `endpoint` is no http address.
    """
    if not endpoint:
        return None
    resource = {
        "service.name": service,
        "service.instance.id": instance,
        "service.version": version or metadata.version("tradewind"),
    }
    exporter = OtlpExporter(endpoint, resource)
    exporter.start()
    return exporter


class _Backend:
    """One kept-alive connection to the collector, remade after any failure."""

    def __init__(self, endpoint: str, headers: Mapping[str, str], timeout_s: float) -> None:
        url = urlsplit(endpoint)
        if url.scheme not in {"http", "https"} or not url.hostname:
            raise ValueError(f"an OTLP endpoint is an http:// or https:// address, not {endpoint!r}")
        self._secure = url.scheme == "https"
        self._host = url.hostname
        self._port = url.port or (443 if self._secure else 80)
        self._path = url.path.rstrip("/") + "/v1/traces"
        self._headers = {"content-type": "application/x-protobuf", **headers}
        self._timeout_s = timeout_s
        self._connection: http.client.HTTPConnection | None = None

    def post(self, body: bytes, left_s: float) -> int | None:
        """The status of the answer, or None when there was none in time."""
        timeout_s = min(self._timeout_s, left_s)
        try:
            if self._connection is None:
                kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
                self._connection = kind(self._host, self._port, timeout=timeout_s)
            elif self._connection.sock is not None:
                self._connection.sock.settimeout(timeout_s)
            self._connection.request("POST", self._path, body, self._headers)
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self.close()
            return None
        return answer.status

    def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.close()
            self._connection = None


def encode(resource: Resource, spans: Iterable[Span]) -> bytes:
    """An OTLP export request with `spans`, all of one process."""
    scope = pb.ScopeSpans(scope=InstrumentationScope(name="tradewind"), spans=[_span(span) for span in spans])
    request = ExportTraceServiceRequest(resource_spans=[pb.ResourceSpans(resource=resource, scope_spans=[scope])])
    return bytes(request.SerializeToString())


def _span(span: Span) -> pb.Span:
    message = pb.Span(
        trace_id=bytes.fromhex(span.context.trace_id),
        span_id=bytes.fromhex(span.context.span_id),
        parent_span_id=bytes.fromhex(span.parent_span_id),
        name=span.name,
        kind=_KINDS[span.kind],
        start_time_unix_nano=span.start_ns,
        end_time_unix_nano=span.end_ns,
        attributes=_key_values(span.attributes),
        events=[
            pb.Span.Event(time_unix_nano=event.time_ns, name=event.name, attributes=_key_values(event.attributes))
            for event in span.events
        ],
        links=[_link(link) for link in span.links],
    )
    if span.failed:
        message.status.code = pb.Status.STATUS_CODE_ERROR
        message.status.message = span.message
    return message


def _link(context: TraceContext) -> pb.Span.Link:
    return pb.Span.Link(trace_id=bytes.fromhex(context.trace_id), span_id=bytes.fromhex(context.span_id))


def _key_values(attributes: Mapping[str, AttributeValue]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_any_value(value)) for key, value in attributes.items()]


def _any_value(value: AttributeValue) -> AnyValue:
    # bool before int: in Python a bool is an int.
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue(array_value=ArrayValue(values=[_any_value(item) for item in value]))
