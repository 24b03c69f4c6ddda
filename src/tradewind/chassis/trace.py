"""Traces: W3C trace context and thin spans that cost next to nothing when nobody looks.

    with trace.use_traceparent(headers.get("traceparent")), trace.span("GET /v1/orders", kind="server") as span:
        span.set("http.route", "/v1/orders")

The decision to sample is made once, where a request enters the platform, and travels in the `traceparent`; a client's
own sampled flag is not obeyed, its trace id is kept (contract, section 2). The OpenTelemetry SDK is not used because it
costs a service between a fifth and nine tenths of its throughput (design, section 4); the wire format is still OTLP.
"""

from __future__ import annotations

import random
import re
import time
import traceback
from collections.abc import Mapping, Sequence
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Literal, Protocol, TypeAlias

from tradewind.chassis.errors import Problem

SpanKind: TypeAlias = Literal["internal", "server", "client", "producer", "consumer"]
AttributeValue: TypeAlias = str | bool | int | float | Sequence[str]

MAX_ATTRIBUTES = 64
MAX_EVENTS = 8
MAX_LINKS = 128
MAX_VALUE_CHARS = 1_000
MAX_STACK_CHARS = 4_000

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_NO_TRACE = "0" * 32
_NO_SPAN = "0" * 16


class TraceContext:
    """Where we are in a trace: 32 and 16 lower-case hex digits, and whether the trace is recorded.

    `starts_here` marks a trace this process began: its first spans have no parent.
    """

    __slots__ = ("sampled", "span_id", "starts_here", "trace_id")

    def __init__(self, trace_id: str, span_id: str, sampled: bool, starts_here: bool = False) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.sampled = sampled
        self.starts_here = starts_here

    @property
    def traceparent(self) -> str:
        """The W3C header value, version 00."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"

    def __repr__(self) -> str:
        return f"TraceContext({self.traceparent})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TraceContext) and other.traceparent == self.traceparent

    def __hash__(self) -> int:
        return hash(self.traceparent)


class SpanSink(Protocol):
    """Takes finished spans; must never block and never raise."""

    def offer(self, span: Span) -> None:
        """Keep `span` for export, or drop and count it."""
        ...


class _Tracing:
    """What `configure` decided, for the whole process."""

    __slots__ = ("ratio", "sink")

    def __init__(self) -> None:
        self.ratio = 0.0
        self.sink: SpanSink | None = None


_tracing = _Tracing()
_current: ContextVar[TraceContext | None] = ContextVar("tradewind_trace", default=None)


def configure(*, ratio: float, sink: SpanSink | None) -> None:
    """Set the share of new traces that are sampled (0..1) and where finished spans go; `None` records nothing.

    Without a sink the decision is still made and passed on, for the services behind that have one.
    """
    if not 0.0 <= ratio <= 1.0:
        raise ValueError(f"the trace ratio is a share between 0 and 1, not {ratio}")
    _tracing.ratio = ratio
    _tracing.sink = sink


def current() -> TraceContext | None:
    """The trace this task works in, if any."""
    return _current.get()


def current_traceparent() -> str | None:
    """`current()` as the header to send along, if any."""
    context = _current.get()
    return None if context is None else context.traceparent


def parse_traceparent(value: str | None) -> TraceContext | None:
    """Read a W3C `traceparent` strictly; anything the standard calls invalid is None, and so a new trace.

    Source: https://www.w3.org/TR/trace-context/#traceparent-header. Version ff and all-zero ids are invalid;
    version 00 ends after the flags, a later version may go on after a dash.
    """
    if value is None:
        return None
    match = _TRACEPARENT.fullmatch(value)
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == "ff" or (version == "00" and more is not None) or trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & 1))


class use_traceparent:  # noqa: N801 - reads as a verb where it is used, and a class is half the price of a generator
    """Work inside the trace of `value`, or start a new one where it is missing or invalid.

    What comes from outside has passed the edge, which keeps a client's trace id and decides anew whether to sample.
    """

    __slots__ = ("_context", "_token")

    def __init__(self, value: str | None) -> None:
        self._context = parse_traceparent(value) or _new_trace()
        self._token: Token[TraceContext | None] | None = None

    def __enter__(self) -> TraceContext:
        self._token = _current.set(self._context)
        return self._context

    def __exit__(self, *exc_info: object) -> None:
        _leave(self._token)


class SpanEvent:
    """Something that happened at a moment of a span; today always an exception."""

    __slots__ = ("attributes", "name", "time_ns")

    def __init__(self, name: str, time_ns: int, attributes: dict[str, AttributeValue]) -> None:
        self.name = name
        self.time_ns = time_ns
        self.attributes = attributes


class Span:
    """A timed piece of work inside a trace. Times are Unix nanoseconds; names follow OpenTelemetry's conventions."""

    __slots__ = (
        "_started_ns",
        "_token",
        "attributes",
        "context",
        "end_ns",
        "events",
        "failed",
        "kind",
        "links",
        "message",
        "name",
        "parent_span_id",
        "start_ns",
    )

    def __init__(
        self,
        name: str,
        kind: SpanKind,
        context: TraceContext,
        parent_span_id: str,
        attributes: Mapping[str, AttributeValue] | None,
        links: Sequence[TraceContext],
    ) -> None:
        self.name = name
        self.kind = kind
        self.context = context
        self.parent_span_id = parent_span_id
        self.attributes: dict[str, AttributeValue] = dict(attributes) if attributes else {}
        self.links = tuple(links[:MAX_LINKS])
        self.events: list[SpanEvent] = []
        self.failed = False
        self.message = ""
        self.start_ns = self.end_ns = 0
        self._started_ns = 0
        self._token: Token[TraceContext | None] | None = None

    @property
    def recording(self) -> bool:
        """Whether anyone will see this span; guard attributes that are costly to compute."""
        return True

    def set(self, key: str, value: AttributeValue) -> None:
        """Set an attribute; beyond 64 of them, and beyond 1,000 characters each, the rest is cut off."""
        if isinstance(value, str) and len(value) > MAX_VALUE_CHARS:
            value = value[:MAX_VALUE_CHARS]
        if len(self.attributes) < MAX_ATTRIBUTES or key in self.attributes:
            self.attributes[key] = value

    def fail(self, exc: BaseException) -> None:
        """Record `exc`. An answer below 500 is an error to the client that got it, not to the server that gave it."""
        answered = isinstance(exc, Problem) and exc.status < 500
        self.set("error.type", exc.code if isinstance(exc, Problem) else type(exc).__qualname__)
        if answered and self.kind != "client":
            return
        self.failed = True
        self.message = str(exc)[:MAX_VALUE_CHARS]
        if len(self.events) < MAX_EVENTS:
            self.events.append(SpanEvent("exception", time.time_ns(), _exception_attributes(exc)))

    def __enter__(self) -> Span:
        self._token = _current.set(self.context)
        self.start_ns = time.time_ns()
        self._started_ns = time.perf_counter_ns()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        # The length comes from the monotonic clock: a step of the wall clock must not make it negative.
        self.end_ns = self.start_ns + time.perf_counter_ns() - self._started_ns
        if exc is not None and not isinstance(exc, GeneratorExit):
            self.fail(exc)
        _leave(self._token)
        if _tracing.sink is not None:
            _tracing.sink.offer(self)


class _UnrecordedSpan(Span):
    """Stands for every span that nobody will see; the context of its parent stays in force."""

    __slots__ = ()

    @property
    def recording(self) -> bool:
        return False

    def set(self, key: str, value: AttributeValue) -> None:
        pass

    def fail(self, exc: BaseException) -> None:
        pass

    def __enter__(self) -> Span:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass


class _UnrecordedRoot(_UnrecordedSpan):
    """An unrecorded span that brings its own context: a trace that starts here, or a parent given by hand."""

    __slots__ = ()

    def __enter__(self) -> Span:
        self._token = _current.set(self.context)
        return self

    def __exit__(self, *exc_info: object) -> None:
        _leave(self._token)


_UNRECORDED = _UnrecordedSpan("", "internal", TraceContext(_NO_TRACE, _NO_SPAN, False), "", None, ())


def span(
    name: str,
    *,
    kind: SpanKind = "internal",
    attributes: Mapping[str, AttributeValue] | None = None,
    parent: TraceContext | None = None,
    links: Sequence[TraceContext] = (),
) -> Span:
    """A span under `parent`, else under the current trace, else a new trace; use it in a `with` statement.

    An exception that leaves the block is recorded and goes on. `name` must be of few kinds: a route, never a path.
    `links` point to other traces this work belongs to as well, such as the events of a batch.
    """
    above = parent if parent is not None else _current.get()
    if above is None:
        above = _new_trace()
        parent = above
    if not above.sampled or _tracing.sink is None:
        if parent is None:
            return _UNRECORDED
        return _UnrecordedRoot("", kind, above, "", None, ())
    context = TraceContext(above.trace_id, _new_span_id(), sampled=True)
    return Span(name, kind, context, "" if above.starts_here else above.span_id, attributes, links)


def _new_trace() -> TraceContext:
    # `random` and not `os.urandom`: ids must differ, not be secret, and a system call a request is dear.
    return TraceContext(f"{random.getrandbits(128) or 1:032x}", _new_span_id(), _decide(), starts_here=True)


def _new_span_id() -> str:
    return f"{random.getrandbits(64) or 1:016x}"


def _decide() -> bool:
    # At random and not from the trace id, which a client chooses and could choose so as to be always sampled.
    return random.random() < _tracing.ratio


def _leave(token: Token[TraceContext | None] | None) -> None:
    if token is None:
        return
    try:
        _current.reset(token)
    except ValueError:
        # An abandoned async generator is closed in another context than it ran in; there is nothing to restore there.
        return


def _exception_attributes(exc: BaseException) -> dict[str, AttributeValue]:
    stack = "".join(traceback.format_exception(exc, limit=-20))
    return {
        "exception.type": type(exc).__qualname__,
        "exception.message": str(exc)[:MAX_VALUE_CHARS],
        "exception.stacktrace": stack[-MAX_STACK_CHARS:],
    }
