"""One JSON object a line, with its trace and request, without secrets, whatever is thrown at it."""

from __future__ import annotations

import asyncio
import enum
import io
import json
import logging
import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradewind.chassis import logs, request_scope, trace
from tradewind.chassis.settings import Secret


@pytest.fixture
def stream():
    found = io.BytesIO()
    logs.configure("order-service", "order-1", stream=found)
    yield found
    logs.configure("", "", stream=None, format="text")
    logging.captureWarnings(False)
    logging.getLogger().handlers = [
        handler for handler in logging.getLogger().handlers if not isinstance(handler, logs._StandardLogging)
    ]


def lines(stream: io.BytesIO) -> list[dict]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_its_fields_in_order(stream: io.BytesIO) -> None:
    logs.get_logger("orders").info("order placed", order_id="o-1", lines=2)
    (line,) = lines(stream)
    assert list(line) == ["ts", "level", "service", "instance", "event", "logger", "order_id", "lines"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["ts"])
    age = datetime.now(UTC) - datetime.fromisoformat(line["ts"])
    assert abs(age.total_seconds()) < 5
    assert (line["service"], line["instance"], line["level"]) == ("order-service", "order-1", "info")


def test_a_line_knows_its_trace_and_its_request(stream: io.BytesIO) -> None:
    with trace.use_traceparent(None) as context, request_scope.use_request("req-7"):
        logs.get_logger().info("inside")
    logs.get_logger().info("outside")
    inside, outside = lines(stream)
    assert (inside["trace_id"], inside["request_id"]) == (context.trace_id, "req-7")
    assert "trace_id" not in outside
    assert "request_id" not in outside


def test_bound_fields_come_along(stream: io.BytesIO) -> None:
    log = logs.get_logger("relay").bind(partition=3)
    log.warning("slow")
    assert lines(stream)[0]["partition"] == 3


def test_the_level_can_change_while_running(stream: io.BytesIO) -> None:
    log = logs.get_logger()
    log.debug("no")
    logs.set_level("debug")
    log.debug("yes")
    logging.getLogger("asyncio").debug("yes")
    logs.set_level("error")
    log.warning("no")
    logging.getLogger("asyncio").warning("no")
    assert [line["event"] for line in lines(stream)] == ["yes", "yes"]
    logs.set_level("warn")
    with pytest.raises(ValueError, match="loud"):
        logs.set_level("loud")


SECRETS = {
    "password": "p",
    "new_password": "p",
    "accessToken": "p",
    "refresh-token": "p",
    "Authorization": "p",
    "set-cookie": "p",
    "client_secret": "p",
    "X-Api-Key": "p",
    "card_number": "p",
    "PAN": "p",
    "cvc": "p",
    "recovery_codes": ["p"],
    "totp": "123456",
    "pan": 4111111111111111,
}


def test_secrets_are_masked_by_the_words_of_their_key(stream: io.BytesIO) -> None:
    logs.get_logger().info("x", **SECRETS)
    line = lines(stream)[0]
    assert {key: line[key] for key in SECRETS if key != "recovery_codes"} == {
        key: "***" for key in SECRETS if key != "recovery_codes"
    }


def test_what_only_sounds_like_a_secret_is_not_masked(stream: io.BytesIO) -> None:
    fields = {"cardinality": 3, "company": "x", "span_name": "y", "discarded": 1, "authored_by": "z", "has_token": True}
    logs.get_logger().info("x", **fields)
    assert fields.items() <= lines(stream)[0].items()


def test_secrets_are_masked_at_any_depth_and_in_any_type(stream: io.BytesIO) -> None:
    class Login(msgspec.Struct):
        email: str
        password: str

    @dataclass
    class Card:
        cvc: str
        holder: str

    logs.get_logger().info(
        "x",
        body=Login("ada@example.test", "hunter2"),
        list=[{"token": "hunter2"}],
        card_holder=Card("hunter2", "Ada"),
        thing=Card("hunter2", "Ada"),
        key=Secret("hunter2"),
        headers={"Cookie": "hunter2"},
    )
    text = stream.getvalue().decode()
    assert "hunter2" not in text
    line = json.loads(text)
    assert line["body"] == {"email": "a***", "password": "***"}
    assert line["thing"] == {"cvc": "***", "holder": "Ada"}


def test_credentials_inside_texts_are_masked(stream: io.BytesIO) -> None:
    logs.get_logger().info(
        "x",
        url="postgres://order:hunter2@127.0.0.1/order",
        header="Bearer eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    )
    try:
        raise ConnectionError("cannot connect to redis://:hunter2@10.0.0.1:6379")
    except ConnectionError:
        logs.get_logger().exception("failed")
    text = stream.getvalue().decode()
    assert "hunter2" not in text
    assert "eyJ" not in text
    assert "127.0.0.1/order" in text


def test_an_exception_has_a_bounded_stack(stream: io.BytesIO) -> None:
    def dig(depth: int) -> None:
        if depth == 0:
            raise ValueError("x" * 50_000)
        dig(depth - 1)

    log = logs.get_logger()
    try:
        dig(200)
    except ValueError as exc:
        log.error("one", exc_info=exc)
        log.exception("two")
        log.warning("three", exc_info=True)
    log.error("none", exc_info=True)  # noqa: LOG014 - no exception is being handled: that is the case tested
    for line in lines(stream)[:3]:
        assert line["exception"]["type"] == "ValueError"
        assert len(line["exception"]["message"]) <= 4_001
        assert len(line["exception"]["stack"]) <= logs.MAX_STACK_CHARS + 10
    assert lines(stream)[3]["exception"] is None


def test_values_of_any_kind_are_written(stream: io.BytesIO) -> None:
    class Colour(enum.Enum):
        RED = 1

    class Sulky:
        def __str__(self) -> str:
            raise RuntimeError("no")

    log = logs.get_logger()
    log.info(
        "x",
        uuid=uuid.UUID(int=1),
        at=datetime(2026, 1, 1, tzinfo=UTC),
        d=Decimal("1.5"),
        b=b"\x00\xff",
        nan=float("nan"),
        e=Colour.RED,
        s={1},
        deep=[[[[[[[[1]]]]]]]],
        long="y" * 100_000,
        many=list(range(10_000)),
        bad="\ud800",
    )
    log.info("y", sulky=Sulky())
    log.info("z", ts=1, level="mine", service="theirs")
    first, second, third = lines(stream)
    assert (first["uuid"], first["b"], first["nan"]) == (str(uuid.UUID(int=1)), "2 bytes", None)
    assert first["deep"] == [[[[[["…"]]]]]]
    assert len(stream.getvalue().splitlines()[0]) < 10_000
    assert second["event"] == "a log line could not be written"
    assert (third["service"], third["service_"], third["ts_"]) == ("order-service", "theirs", 1)


@settings(max_examples=30)
@given(st.dictionaries(st.text(max_size=20), st.recursive(st.none() | st.floats() | st.text() | st.binary(), st.lists)))
def test_no_field_breaks_a_line(fields: dict) -> None:
    found = io.BytesIO()
    logs.configure("s", "i", stream=found)
    fields.pop("event", None)
    logs.get_logger().bind(**fields).info("x")
    (line,) = lines(found)
    assert line["event"] == "x"
    logs.configure("", "", stream=None, format="text")


def test_newlines_cannot_forge_a_line(stream: io.BytesIO) -> None:
    logs.get_logger().info('x\n{"event":"forged"}', name="a\nb")
    assert len(stream.getvalue().splitlines()) == 1


def test_the_standard_library_logs_the_same_way(stream: io.BytesIO) -> None:
    logging.getLogger("uvicorn.error").info("started on %s", "port 1")
    logging.getLogger("uvicorn.access").info("GET /")
    try:
        raise KeyError("k")
    except KeyError:
        logging.getLogger("asyncio").exception("task failed")
    started, failed = lines(stream)
    assert (started["event"], started["logger"], started["level"]) == ("started on port 1", "uvicorn.error", "info")
    assert failed["exception"]["type"] == "KeyError"


def test_configuring_twice_does_not_double_the_lines(stream: io.BytesIO) -> None:
    logs.configure("order-service", "order-1", stream=stream)
    logging.getLogger("asyncio").info("once")
    assert len(lines(stream)) == 1


def test_text_is_for_people(stream: io.BytesIO) -> None:
    logs.configure("order-service", "order-1", "info", "text", stream=stream)
    try:
        raise ValueError("boom")
    except ValueError:
        logs.get_logger().exception("order refused", order_id="o-1", password="hunter2")
    text = stream.getvalue().decode()
    assert re.match(
        r"\d\d:\d\d:\d\d\.\d{3} error +order-1 order refused  order_id=o-1 password=\*\*\*\nTraceback", text
    )
    assert text.endswith("ValueError: boom\n")


def test_a_reader_that_went_away_takes_nobody_along() -> None:
    class Closed(io.BytesIO):
        def write(self, data: object) -> int:
            raise BrokenPipeError

    logs.configure("s", "i", stream=Closed())
    logs.get_logger().info("x")
    logs.configure("", "", stream=None, format="text")


async def test_tasks_write_their_own_ids(stream: io.BytesIO) -> None:
    async def work(number: int) -> None:
        with request_scope.use_request(f"r-{number}"):
            await asyncio.sleep(0)
            logs.get_logger().info("x", number=number)

    await asyncio.gather(*(work(number) for number in range(10)))
    assert all(line["request_id"] == f"r-{line['number']}" for line in lines(stream))
