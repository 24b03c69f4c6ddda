"""The AsyncAPI document and the CloudEvents on the wire, held against the official schemas and against the code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from tradewind.chassis.events import Catalogue, Event
from tradewind.chassis.outbox import Outbox
from tradewind.published import examples
from tradewind.published.asyncapi import document, name_of
from tradewind.published.readers import heard_by
from tradewind.published.schemas import ENVELOPE, all_contracts, all_schemas

VENDOR = Path(__file__).parents[1] / "vendor"
DOCUMENT = document()
EVENTS = [(contract.producer, event) for contract in all_contracts() for event in contract.events]
BY_TYPE = pytest.mark.parametrize(("producer", "event"), EVENTS, ids=[event.TYPE for _, event in EVENTS])


def official(path: str) -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(json.loads((VENDOR / path).read_text(encoding="utf-8")))


def as_read(value: object) -> Any:
    """The document as a reader of its file has it."""
    return msgspec.json.decode(msgspec.json.encode(value))


def test_the_document_is_asyncapi_3() -> None:
    assert [error.message for error in official("asyncapi/3.0.0.json").iter_errors(as_read(DOCUMENT))] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("channels", "order", "adress"), "order"),
        (("operations", "order-service.send.order", "action"), "publish"),
        (("channels", "order", "bindings", "kafka", "partitions"), 0),
        (("components", "messages", "OrderPlacedV1", "payload"), 7),
        (("info", "version"), None),
    ],
)
def test_the_official_schema_would_notice(path: tuple[str, ...], value: object) -> None:
    broken = as_read(DOCUMENT)
    inner = broken
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    assert not official("asyncapi/3.0.0.json").is_valid(broken)


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (each for name, each in value.items() if name == "$ref")
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_every_reference_leads_somewhere() -> None:
    for reference in set(references(as_read(DOCUMENT))):
        found: Any = DOCUMENT
        for name in reference.removeprefix("#/").split("/"):
            found = found[name]
        assert found, reference


def test_who_sends_and_who_receives_what_is_what_the_code_does() -> None:
    received: dict[str, list[str]] = {}
    sent: dict[str, str] = {}
    for name, operation in DOCUMENT["operations"].items():
        service = name.partition(".")[0]
        for message in operation["messages"]:
            type_ = DOCUMENT["components"]["messages"][message["$ref"].rpartition("/")[2]]["name"]
            if operation["action"] == "receive":
                received.setdefault(type_, []).append(service)
                assert operation["bindings"]["kafka"]["groupId"]["const"] == service
            else:
                sent[type_] = service
    assert {type_: sorted(services) for type_, services in received.items()} == heard_by()
    assert sent == {event.TYPE: f"{producer}-service" for producer, event in EVENTS}


@BY_TYPE
def test_the_example_of_a_message_is_one(producer: str, event: type[Event]) -> None:
    message = DOCUMENT["components"]["messages"][name_of(event)]
    (example,) = message["examples"]
    schema = as_read({**message["payload"], "components": DOCUMENT["components"]})
    jsonschema.Draft202012Validator(schema).validate(example["payload"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate({**example["payload"], "data": {}})
    # And what a reader of ours makes of it.
    received = Catalogue([event]).decode(
        event.TYPE, msgspec.json.encode(example["payload"]), topic=event.TOPIC, partition=0, offset=0,
        key=getattr(msgspec.convert(example["payload"]["data"], event), event.KEY),
    )  # fmt: skip
    assert isinstance(received.data, event)
    assert example["payload"]["source"] == f"{producer}-service"


@BY_TYPE
def test_what_is_written_is_a_cloudevent_and_fits_its_published_schemas(producer: str, event: type[Event]) -> None:
    schema = all_schemas()[event.TYPE]
    data = msgspec.convert(examples.example(schema, schema.get("$defs", {})), event)
    written = Outbox(f"{producer}-service").entry(data, key=getattr(data, event.KEY), version=1).envelope
    attributes = json.loads(written)
    official("cloudevents/v1.json").validate(attributes)
    jsonschema.Draft202012Validator(all_schemas()[ENVELOPE]).validate(attributes)
    jsonschema.Draft202012Validator(schema).validate(attributes["data"])
    # What the official schema leaves to the specification.
    assert attributes["specversion"] == "1.0"
    assert attributes["datacontenttype"] == "application/json"
    assert datetime.fromisoformat(attributes["time"]).tzinfo is not None
    assert re.fullmatch(r"[a-z0-9-]+", attributes["source"]), "a URI reference"
    assert all(re.fullmatch(r"[a-z0-9]{1,20}", name) for name in attributes)
    assert attributes["aggregateversion"] < 2**31


def test_the_cloudevents_schema_would_notice() -> None:
    schema = all_schemas()["order.placed.v1"]
    good = examples.envelope(schema)
    for change in ({"id": ""}, {"source": ""}, {"type": 7}, {"time": 5}, {"subject": ""}):
        assert not official("cloudevents/v1.json").is_valid({**good, **change}), change
