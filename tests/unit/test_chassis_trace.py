"""Trace context, the sampling decision, spans, and the bytes that leave."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2

from tradewind.chassis import otlp, trace
from tradewind.chassis.errors import NotFound, Unavailable

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN_ID = "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE_ID}-{SPAN_ID}-01"
UNSAMPLED = f"00-{TRACE_ID}-{SPAN_ID}-00"


class Kept:
    """A sink that keeps the finished spans."""

    def __init__(self) -> None:
        self.spans: list[trace.Span] = []

    def offer(self, span: trace.Span) -> None:
        self.spans.append(span)


@pytest.fixture
def kept():
    sink = Kept()
    trace.configure(ratio=1.0, sink=sink)
    yield sink
    trace.configure(ratio=0.0, sink=None)


@pytest.mark.parametrize(
    ("value", "sampled"),
    [
        (SAMPLED, True),
        (UNSAMPLED, False),
        (f"00-{TRACE_ID}-{SPAN_ID}-03", True),
        (f"cc-{TRACE_ID}-{SPAN_ID}-01", True),
        (f"cc-{TRACE_ID}-{SPAN_ID}-01-what-the-future-brings", True),
    ],
)
def test_a_valid_traceparent_is_read(value: str, sampled: bool) -> None:
    context = trace.parse_traceparent(value)
    assert context is not None
    assert (context.trace_id, context.span_id, context.sampled) == (TRACE_ID, SPAN_ID, sampled)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "junk",
        SAMPLED.upper(),
        f" {SAMPLED}",
        f"{SAMPLED}\n",
        f"{SAMPLED}-more",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID[:-1]}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID}-1",
        f"00-{TRACE_ID[:-1]}٣-{SPAN_ID}-01",
    ],
)
def test_an_invalid_traceparent_is_none(value: str | None) -> None:
    assert trace.parse_traceparent(value) is None


@given(st.text(max_size=80))
def test_no_text_breaks_the_parser(value: str) -> None:
    trace.parse_traceparent(value)


def test_what_is_written_can_be_read_back() -> None:
    with trace.use_traceparent(None) as context:
        assert trace.parse_traceparent(trace.current_traceparent()) == context
    assert trace.current() is None
    assert trace.current_traceparent() is None


def test_the_parent_decides_and_our_ratio_only_starts(kept: Kept) -> None:
    for ratio in (0.0, 1.0):
        trace.configure(ratio=ratio, sink=kept)
        with trace.use_traceparent(SAMPLED) as context:
            assert context.sampled
            assert context.trace_id == TRACE_ID
        with trace.use_traceparent(UNSAMPLED) as context:
            assert not context.sampled
        with trace.use_traceparent(None) as context:
            assert context.sampled is (ratio == 1.0)


@pytest.mark.parametrize("ratio", [-0.1, 1.1, float("nan")])
def test_a_ratio_is_a_share(ratio: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        trace.configure(ratio=ratio, sink=None)


def test_spans_nest_and_carry_the_trace_on(kept: Kept) -> None:
    with trace.use_traceparent(SAMPLED), trace.span("GET /x", kind="server") as server:
        assert server.recording
        server.set("http.route", "/x")
        with trace.span("GET user", kind="client", attributes={"server.address": "user-service"}) as client:
            sent = trace.parse_traceparent(trace.current_traceparent())
    assert [span.name for span in kept.spans] == ["GET user", "GET /x"]
    assert server.parent_span_id == SPAN_ID
    assert client.parent_span_id == server.context.span_id
    assert sent is not None
    assert (sent.trace_id, sent.span_id, sent.sampled) == (TRACE_ID, client.context.span_id, True)
    assert 0 <= client.end_ns - client.start_ns <= server.end_ns - server.start_ns


def test_the_first_spans_of_a_trace_begun_here_have_no_parent(kept: Kept) -> None:
    with trace.use_traceparent(None):
        with trace.span("first"):
            pass
        with trace.span("second"):
            pass
    with trace.span("alone"):
        pass
    first, second, alone = kept.spans
    assert first.parent_span_id == second.parent_span_id == alone.parent_span_id == ""
    assert first.context.trace_id == second.context.trace_id != alone.context.trace_id


def test_unsampled_work_records_nothing_and_keeps_the_context(kept: Kept) -> None:
    with trace.use_traceparent(UNSAMPLED), trace.span("quiet") as span:
        span.set("a", 1)
        span.fail(ValueError("x"))
        assert not span.recording
        assert trace.current_traceparent() == UNSAMPLED
    trace.configure(ratio=0.0, sink=kept)
    with trace.span("job"):
        context = trace.current()
        assert context is not None
        assert not context.sampled
        with trace.span("below"):
            assert trace.current() == context
    assert trace.current() is None
    assert kept.spans == []


def test_a_decision_is_passed_on_even_where_nothing_is_exported() -> None:
    trace.configure(ratio=0.0, sink=None)
    with trace.use_traceparent(SAMPLED), trace.span("x"):
        assert trace.current_traceparent() == SAMPLED


def test_a_parent_given_by_hand_beats_the_current_one(kept: Kept) -> None:
    parent = trace.parse_traceparent(SAMPLED)
    with trace.use_traceparent(None), trace.span("consume", kind="consumer", parent=parent) as span:
        assert span.context.trace_id == TRACE_ID
    quiet = trace.parse_traceparent(UNSAMPLED)
    with trace.use_traceparent(None), trace.span("consume", kind="consumer", parent=quiet):
        assert trace.current_traceparent() == UNSAMPLED


def test_an_exception_is_recorded_and_goes_on(kept: Kept) -> None:
    with pytest.raises(ValueError, match="boom"), trace.span("work"):
        raise ValueError("boom")
    (span,) = kept.spans
    assert span.failed
    assert span.message == "boom"
    assert span.attributes["error.type"] == "ValueError"
    assert "test_chassis_trace.py" in str(span.events[0].attributes["exception.stacktrace"])
    assert trace.current() is None


@pytest.mark.parametrize(
    ("kind", "problem", "failed"),
    [
        ("server", NotFound("no-such-order"), False),
        ("client", NotFound("no-such-order"), True),
        ("server", Unavailable("database-unavailable"), True),
    ],
)
def test_whose_error_it_is(kept: Kept, kind: trace.SpanKind, problem: Exception, failed: bool) -> None:
    with pytest.raises(type(problem)), trace.span("x", kind=kind):
        raise problem
    assert kept.spans[0].failed is failed
    assert kept.spans[0].attributes["error.type"] == problem.code


def test_a_span_is_bounded(kept: Kept) -> None:
    with trace.span("big") as span:
        for number in range(200):
            span.set(f"k{number}", "x" * 10_000)
        for _ in range(50):
            span.fail(ValueError("y" * 10_000))
    assert len(span.attributes) == trace.MAX_ATTRIBUTES
    assert len(str(span.attributes["k0"])) == trace.MAX_VALUE_CHARS
    assert len(span.events) == trace.MAX_EVENTS


async def test_tasks_do_not_see_each_others_spans(kept: Kept) -> None:
    async def work(name: str) -> str:
        with trace.use_traceparent(None), trace.span(name) as span:
            await asyncio.sleep(0)
            current = trace.current()
            assert current is not None
            assert current == span.context
            return current.trace_id

    assert len(set(await asyncio.gather(*(work(f"t{n}") for n in range(20))))) == 20


async def test_a_stream_that_is_abandoned_breaks_nothing(kept: Kept) -> None:
    async def stream():
        with trace.use_traceparent(SAMPLED), trace.span("stream"):
            yield 1
            yield 2

    source = stream()
    await anext(source)
    await asyncio.create_task(source.aclose())  # in another context than it began in
    assert not kept.spans[0].failed


def test_otlp_bytes_say_what_the_span_said(kept: Kept) -> None:
    link = trace.TraceContext("a" * 32, "b" * 16, True)
    with pytest.raises(ValueError, match="boom"), trace.use_traceparent(SAMPLED):
        with trace.span("order publish", kind="producer", links=[link]) as span:
            span.set("messaging.batch.message_count", 3)
            span.set("ratio", 0.5)
            span.set("ok", True)
            span.set("tags", ["a", "b"])
            raise ValueError("boom")
    resource = Resource(attributes=otlp._key_values({"service.name": "order-service"}))
    request = ExportTraceServiceRequest.FromString(otlp.encode(resource, kept.spans))
    (resource_spans,) = request.resource_spans
    assert resource_spans.resource.attributes[0].value.string_value == "order-service"
    (sent,) = resource_spans.scope_spans[0].spans
    assert sent.trace_id.hex() == TRACE_ID
    assert sent.parent_span_id.hex() == SPAN_ID
    assert sent.span_id.hex() == span.context.span_id
    assert sent.kind == trace_pb2.Span.SPAN_KIND_PRODUCER
    assert sent.end_time_unix_nano >= sent.start_time_unix_nano > 1_600_000_000 * 10**9
    assert sent.status.code == trace_pb2.Status.STATUS_CODE_ERROR
    assert sent.events[0].name == "exception"
    assert sent.links[0].trace_id.hex() == "a" * 32
    values = {item.key: item.value for item in sent.attributes}
    assert values["messaging.batch.message_count"].int_value == 3
    assert values["ratio"].double_value == 0.5
    assert values["ok"].bool_value is True
    assert [item.string_value for item in values["tags"].array_value.values] == ["a", "b"]


def test_no_endpoint_no_exporter_and_a_wrong_one_stops_the_start() -> None:
    assert otlp.start("", service="s", instance="i") is None
    with pytest.raises(ValueError, match="http://"):
        otlp.start("localhost:4318", service="s", instance="i")


def test_a_full_buffer_drops_and_counts(kept: Kept) -> None:
    exporter = otlp.OtlpExporter("http://127.0.0.1:1", {}, buffer_spans=10)
    for _ in range(25):
        with trace.span("x"):
            pass
    for span in kept.spans:
        exporter.offer(span)
    assert exporter.dropped == 15
    exporter.stop()
