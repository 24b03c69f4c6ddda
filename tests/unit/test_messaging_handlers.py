"""Handlers: who is called with what, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradewind.chassis import trace
from tradewind.chassis.consumer import Handlers
from tradewind.chassis.consumer.handlers import plan
from tradewind.chassis.events import Event, Received
from tradewind.chassis.postgres import Tx

WHEN = datetime(2026, 1, 2, tzinfo=UTC)
NO_TX = cast("Tx", None)


class Placed(Event, frozen=True, kw_only=True):
    TYPE = "parcel.placed.v1"
    TOPIC = "parcel"


class Shipped(Event, frozen=True, kw_only=True):
    TYPE = "parcel.shipped.v1"
    TOPIC = "parcel"


class Paid(Event, frozen=True, kw_only=True):
    TYPE = "bill.paid.v1"
    TOPIC = "bill"


KINDS: tuple[type[Event], ...] = (Placed, Shipped, Paid)


def received(kind: type[Event], subject: str, version: int = 1, traceparent: str | None = None) -> Received[Any]:
    return Received(
        id=f"{subject}-{version}",
        type=kind.TYPE,
        subject=subject,
        version=version,
        time=WHEN,
        traceparent=traceparent,
        data=kind(),
        topic=kind.TOPIC,
        partition=0,
        offset=version,
    )


def test_interleaved_keys_take_as_many_calls_as_there_are_steps() -> None:
    events = [received(kind, f"p{n}", v) for n in range(100) for v, kind in enumerate((Placed, Shipped), 1)]
    groups = plan(events, lambda event: type(event.data))
    assert [(kind, len(found)) for kind, found in groups] == [(Placed, 100), (Shipped, 100)]


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from("abcde")), max_size=60))
def test_nothing_is_left_out_and_every_subject_keeps_its_order(choices: list[tuple[type[Event], str]]) -> None:
    events = [received(kind, subject, version) for version, (kind, subject) in enumerate(choices, 1)]
    groups = plan(events, lambda event: type(event.data))
    flat = [event for _, found in groups for event in found]
    assert sorted(event.version for event in flat) == [event.version for event in events]
    assert all(type(event.data) is kind for kind, found in groups for event in found)
    by_subject = sorted(flat, key=lambda event: event.subject)
    for _, own in groupby(by_subject, key=lambda event: event.subject):
        versions = [event.version for event in own]
        assert versions == sorted(versions)


async def test_one_by_one_and_together() -> None:
    handlers = Handlers[list[str]]()

    @handlers.on(Placed)
    async def each(parts: list[str], _tx: Tx, event: Received[Placed]) -> None:
        parts.append(event.subject)

    @handlers.on_batch(Paid)
    async def all_(parts: list[str], _tx: Tx, events: Sequence[Received[Paid]]) -> None:
        parts.append("+".join(event.subject for event in events))

    assert handlers.topics == {"parcel", "bill"}
    assert handlers.types == {Placed, Paid}
    called: list[str] = []
    kinds = (Placed, Paid, Placed, Paid)
    await handlers.apply(called, NO_TX, [received(kind, f"s{n}") for n, kind in enumerate(kinds)])
    assert called == ["s0", "s2", "s1+s3"]


async def test_a_handler_works_in_the_trace_of_its_event() -> None:
    handlers = Handlers[list[str | None]]()

    @handlers.on(Placed)
    async def each(parts: list[str | None], _tx: Tx, _event: Received[Placed]) -> None:
        context = trace.current()
        parts.append(context.trace_id if context else None)

    found: list[str | None] = []
    traces = [f"{n:032x}" for n in (1, 2)]
    events = [received(Placed, id_, traceparent=f"00-{id_}-{1:016x}-01") for id_ in traces]
    await handlers.apply(found, NO_TX, events)
    assert found == traces
    assert trace.current() is None


def test_two_handlers_for_one_type_stop_the_start() -> None:
    handlers = Handlers[None]()

    async def each(_parts: None, _tx: Tx, _event: Received[Placed]) -> None: ...

    handlers.on(Placed)(each)
    with pytest.raises(ValueError, match="has a handler already"):
        handlers.on(Placed)(each)
