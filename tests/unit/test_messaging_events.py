"""Events: the envelope's shape, and how strictly it is read."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from tradewind.chassis.events import (
    MAX_EVENT_BYTES,
    Catalogue,
    Envelope,
    Event,
    Known,
    Undecodable,
    UnhandledVersion,
    encode,
)
from tradewind.chassis.outbox import Outbox
from tradewind.chassis.transport import partition_of

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Placed(Event, frozen=True, kw_only=True):
    TYPE = "parcel.placed.v2"
    TOPIC = "parcel"

    n: int
    note: str = ""


def envelope(data: Any, **changes: Any) -> Envelope[Any]:
    fields = {"id": "e1", "source": "test", "type": Placed.TYPE, "subject": "p1", "time": WHEN, "aggregateversion": 3}
    return Envelope(**{**fields, **changes}, data=data)


def decode(value: bytes, type_: str = Placed.TYPE, key: str | None = None) -> Any:
    return Catalogue([Placed]).decode(type_, value, topic="parcel", partition=1, offset=7, key=key)


def test_the_envelope_is_a_cloudevent_in_json() -> None:
    wire = msgspec.json.decode(encode(envelope(Placed(n=1), traceparent="00-aa-bb-01")))
    assert wire == {
        "specversion": "1.0",
        "id": "e1",
        "source": "test",
        "type": "parcel.placed.v2",
        "subject": "p1",
        "time": "2026-01-02T03:04:05Z",
        "datacontenttype": "application/json",
        "aggregateversion": 3,
        "traceparent": "00-aa-bb-01",
        "data": {"n": 1, "note": ""},
    }


def test_without_a_trace_the_attribute_is_absent() -> None:
    assert b"traceparent" not in encode(envelope(Placed(n=1)))
    assert decode(encode(envelope(Placed(n=1)))).traceparent is None


def test_a_handler_sees_the_data_and_where_it_came_from() -> None:
    received = decode(encode(envelope(Placed(n=1, note="hi"), traceparent="00-aa-bb-01")))
    assert received.data == Placed(n=1, note="hi")
    assert (received.id, received.subject, received.version, received.time) == ("e1", "p1", 3, WHEN)
    assert (received.topic, received.partition, received.offset) == ("parcel", 1, 7)
    assert received.traceparent == "00-aa-bb-01"


def test_fields_that_were_added_later_are_ignored_and_missing_ones_have_their_default() -> None:
    assert decode(encode(envelope({"n": 1, "colour": "blue"}))).data == Placed(n=1)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"not json",
        b"\xff\xfe",
        encode(envelope({"n": "1"})),
        encode(envelope({})),
        encode(envelope(Placed(n=1), time=datetime(2026, 1, 2))),  # noqa: DTZ001 - that is the point
        encode(envelope(Placed(n=1), specversion="2.0")),
        encode(envelope(Placed(n=1), type="parcel.shipped.v1")),
    ],
)
def test_what_does_not_fit_its_type_is_refused(value: bytes) -> None:
    with pytest.raises(Undecodable, match=r"parcel\.placed\.v2"):
        decode(value)


@pytest.mark.parametrize(
    ("type_", "known"),
    [
        ("parcel.placed.v2", Known.HANDLED),
        ("parcel.placed.v3", Known.NEWER),
        ("parcel.placed.v1", Known.OLDER),
        ("parcel.shipped.v9", Known.FOREIGN),
        ("whatever", Known.FOREIGN),
    ],
)
def test_only_another_version_of_what_is_handled_is_alarming(type_: str, known: Known) -> None:
    assert Catalogue([Placed]).know(type_) is known


@pytest.mark.parametrize(
    ("type_", "said"),
    [
        ("parcel.placed.v3", "came, newer than what is handled here (parcel.placed.v2): upgrade this consumer"),
        (
            "parcel.placed.v1",
            "came, older than what is handled here (parcel.placed.v2): run a version of this consumer",
        ),
    ],
)
def test_another_version_says_so_and_what_to_do(type_: str, said: str) -> None:
    with pytest.raises(UnhandledVersion, match=re.escape(f"{type_} {said}")) as caught:
        decode(b"{}", type_)
    assert str(caught.value).endswith("then replay it")


LIES = {
    "an empty id": ({"id": ""}, "length >= 1"),
    "no source": ({"source": ""}, "length >= 1"),
    "no subject": ({"subject": ""}, "length >= 1"),
    "an aggregate before its first change": ({"aggregateversion": 0}, ">= 1"),
    "another CloudEvents": ({"specversion": "1.1"}, "CloudEvents 1.1, not 1.0"),
    "another type": ({"type": "parcel.shipped.v1"}, "the envelope says its type is parcel.shipped.v1"),
    "data of another kind": ({"datacontenttype": "text/xml"}, "its data is said to be text/xml"),
    "another aggregate": ({"subject": "p2"}, "the envelope is about p2, the key is p1"),
}


@pytest.mark.parametrize("lie", LIES, ids=[lie.replace(" ", "_") for lie in LIES])
def test_an_envelope_that_lies_is_refused_and_said_why(lie: str) -> None:
    changes, said = LIES[lie]
    with pytest.raises(Undecodable, match=re.escape(said)):
        decode(encode(envelope(Placed(n=1), **changes)), key="p1")


@pytest.mark.parametrize(
    "missing", ["specversion", "id", "source", "type", "subject", "time", "aggregateversion", "data"]
)
def test_a_required_attribute_that_is_missing_is_named(missing: str) -> None:
    attributes = msgspec.json.decode(encode(envelope(Placed(n=1))))
    del attributes[missing]
    with pytest.raises(Undecodable, match=missing):
        decode(msgspec.json.encode(attributes))


def test_nul_is_refused_and_a_backslash_before_the_same_letters_is_not() -> None:
    for text in ("\x00", "a\\\x00"):
        with pytest.raises(Undecodable, match="NUL"):
            decode(encode(envelope(Placed(n=1, note=text))))
    assert decode(encode(envelope(Placed(n=1, note="\\u0000")))).data.note == "\\u0000"


def test_what_is_too_large_to_have_come_from_us_is_not_decoded() -> None:
    value = encode(envelope(Placed(n=1))) + b" " * MAX_EVENT_BYTES
    with pytest.raises(Undecodable, match=f"at most {MAX_EVENT_BYTES}"):
        decode(value)


def test_an_event_is_not_a_document() -> None:
    with pytest.raises(ValueError, match=str(MAX_EVENT_BYTES)):
        encode(envelope(Placed(n=1, note="x" * MAX_EVENT_BYTES)))


@pytest.mark.parametrize(
    "type_", ["placed", "parcel.placed", "Parcel.placed.v1", "parcel.placed.v0", "parcel.placed.v1 "]
)
def test_a_type_that_does_not_read_like_one_stops_the_import(type_: str) -> None:
    with pytest.raises(TypeError, match="event type"):
        type("Wrong", (Event,), {"TYPE": type_, "TOPIC": "parcel"})


def test_an_event_without_a_topic_stops_the_import() -> None:
    with pytest.raises(TypeError, match="TOPIC"):
        type("Wrong", (Event,), {"TYPE": "parcel.placed.v1"})


def test_partitions_are_those_of_librdkafkas_consistent_partitioner() -> None:
    # CRC-32 of "123456789" is the check value of the algorithm, 0xCBF43926.
    assert partition_of("123456789", 1 << 32) == 0xCBF43926
    assert {partition_of(f"key-{n}", 8) for n in range(100)} == set(range(8))


class Weighed(Event, frozen=True, kw_only=True):
    TYPE = "parcel.weighed.v1"
    TOPIC = "parcel"
    KEY = "parcel_id"

    parcel_id: str


def test_an_event_goes_under_the_key_that_it_names() -> None:
    outbox = Outbox("test")
    assert outbox.entry(Weighed(parcel_id="p1"), key="p1", version=1).key == "p1"
    with pytest.raises(ValueError, match="keyed by its parcel_id, and 'p2' is another"):
        outbox.entry(Weighed(parcel_id="p1"), key="p2", version=1)


def test_a_key_that_is_no_field_stops_the_import() -> None:
    with pytest.raises(TypeError, match="KEY"):
        type("Wrong", (Event,), {"TYPE": "parcel.lost.v1", "TOPIC": "parcel", "KEY": "parcel_id"})
