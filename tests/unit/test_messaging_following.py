"""On `debug` one request can be followed by its trace: who answered it, and who handled the events it led to."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from tests.unit.test_http import get
from tradewind.chassis import logs
from tradewind.chassis.consumer import telling
from tradewind.chassis.transport import Delivered

TRACE = f"{7:032x}"
TRACEPARENT = f"00-{TRACE}-{9:016x}-00"


@pytest.fixture
def said() -> Iterator[io.BytesIO]:
    found = io.BytesIO()
    logs.configure("order-service", "order-1", "debug", stream=found)
    yield found
    logs.configure("", "", stream=None, format="text")
    logging.captureWarnings(False)


def lines(said: io.BytesIO) -> list[dict[str, object]]:
    return [line for line in map(json.loads, said.getvalue().splitlines()) if line.get("trace_id") == TRACE]


def handle() -> None:
    taken, again = (
        Delivered(
            topic="order", key="o-1", id=name, type="order.placed.v1", value=b"", partition=0, offset=0,
            headers={"traceparent": TRACEPARENT},
        )
        for name in ("taken", "had-before")
    )  # fmt: skip
    telling.handled("payment-service", [taken, again], {"taken"})


async def test_a_request_and_its_events_are_told_in_their_trace(said: io.BytesIO) -> None:
    await get("/v1/maybe", traceparent=TRACEPARENT)
    handle()
    answered, handled = lines(said)
    assert (answered["event"], answered["route"], answered["status"]) == ("answered", "GET /v1/maybe", 200)
    assert (handled["event"], handled["type"], handled["event_id"]) == ("event handled", "order.placed.v1", "taken")


async def test_nothing_of_it_is_told_by_default(said: io.BytesIO) -> None:
    logs.set_level("info")
    await get("/v1/maybe", traceparent=TRACEPARENT)
    handle()
    assert lines(said) == []
