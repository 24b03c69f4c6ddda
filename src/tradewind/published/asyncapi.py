"""The events of all services as one AsyncAPI 3 document: topics, who sends and receives what on them, and every message.

Source: https://www.asyncapi.com/docs/reference/specification/v3.0.0, and for Kafka
https://www.asyncapi.com/docs/reference/bindings/kafka, version 0.5.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Any

import msgspec

from tradewind.chassis.events import Event
from tradewind.chassis.transport import PARTITIONS, RETENTION_S
from tradewind.published import examples
from tradewind.published.readers import heard_by
from tradewind.published.schemas import Contract, Document, all_contracts, envelope_schema, event_schema

VERSION = "3.0.0"
BINDING = "0.5.0"
ENVELOPE = "CloudEvent"
CONTENT_TYPE = "application/cloudevents+json"

_ABOUT = """
What the services say has happened. Events are CloudEvents 1.0 in structured JSON. The key of a message and the `subject` of
its event is the id of the aggregate; events of one aggregate keep their order, and `aggregateversion` counts them from 1 without a
gap. Delivery is at least once: `id` says which events one has had. A version of a type only ever gains optional fields.
"""


def document() -> dict[str, Any]:
    """The AsyncAPI document."""
    contracts = all_contracts()
    return {
        "asyncapi": VERSION,
        "info": {
            "title": "Tradewind events",
            "version": metadata.version("tradewind"),
            "description": " ".join(_ABOUT.split()),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": {
            "bus": {
                "host": "localhost:9092",
                "protocol": "kafka",
                "description": "Wherever BUS_URL leads. Without Kafka the bus is a log in PostgreSQL, with the same topics,"
                " partitions and keys.",
            }
        },
        "channels": {contract.topic: _channel(contract) for contract in contracts},
        "operations": _operations(contracts),
        "components": {
            "messages": {
                name_of(event): _message(event, contract) for contract in contracts for event in contract.events
            },
            "schemas": _schemas(contracts),
        },
    }


def name_of(event: type[Event]) -> str:
    """What the document calls a type: `order.placed.v1` is `OrderPlacedV1`."""
    words = event.TYPE.replace("_", ".").split(".")
    return "".join(word[:1].upper() + word[1:] for word in words)


def _channel(contract: Contract) -> dict[str, Any]:
    keys = sorted({event.KEY for event in contract.events})
    return {
        "address": contract.topic,
        "title": f"Topic {contract.topic}",
        "description": f"{contract.meaning} The key is {', '.join(keys)}.",
        "messages": {name_of(event): {"$ref": f"#/components/messages/{name_of(event)}"} for event in contract.events},
        "bindings": {
            "kafka": {
                "topic": contract.topic,
                "partitions": PARTITIONS,
                "topicConfiguration": {"cleanup.policy": ["delete"], "retention.ms": int(RETENTION_S * 1_000)},
                "bindingVersion": BINDING,
            }
        },
    }


def _operations(contracts: tuple[Contract, ...]) -> dict[str, Any]:
    """Who sends on its topic, and who receives what from which."""
    found: dict[str, Any] = {}
    readers = heard_by()
    for contract in contracts:
        service = f"{contract.producer}-service"
        found[f"{service}.send.{contract.topic}"] = {
            "action": "send",
            "summary": f"{service} tells what happened.",
            **_about(contract, contract.events),
        }
    for contract in contracts:
        heard = {name for event in contract.events for name in readers.get(event.TYPE, ())}
        for service in sorted(heard):
            events = tuple(event for event in contract.events if service in readers.get(event.TYPE, ()))
            found[f"{service}.receive.{contract.topic}"] = {
                "action": "receive",
                "summary": f"{service} acts on what {contract.producer}-service tells.",
                **_about(contract, events),
                "bindings": {"kafka": {"groupId": {"type": "string", "const": service}, "bindingVersion": BINDING}},
            }
    return found


def _about(contract: Contract, events: tuple[type[Event], ...]) -> dict[str, Any]:
    channel = f"#/channels/{contract.topic}"
    return {
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{name_of(event)}"} for event in events],
    }


def _message(event: type[Event], contract: Contract) -> dict[str, Any]:
    schema = event_schema(event, contract.producer)
    name = name_of(event)
    return {
        "name": event.TYPE,
        "title": event.TYPE,
        "summary": str(schema["description"]),
        "contentType": CONTENT_TYPE,
        "headers": {"$ref": "#/components/schemas/Headers"},
        "correlationId": {
            "description": "The trace of what made it happen.",
            "location": "$message.header#/traceparent",
        },
        "payload": {
            "allOf": [
                {"$ref": f"#/components/schemas/{ENVELOPE}"},
                {
                    "type": "object",
                    "properties": {
                        "type": {"const": event.TYPE},
                        "source": {"const": f"{contract.producer}-service"},
                        "data": {"$ref": f"#/components/schemas/{name}"},
                    },
                },
            ]
        },
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": f"The event's `{event.KEY}`.", "minLength": 1},
                "bindingVersion": BINDING,
            }
        },
        "examples": [
            {
                "name": event.TYPE,
                "headers": {"traceparent": examples.TRACEPARENT},
                "payload": examples.envelope(schema),
            }
        ],
    }


def _schemas(contracts: tuple[Contract, ...]) -> dict[str, Any]:
    """The envelope, the headers, and the data of each event with what it is made of."""
    found: dict[str, Any] = {
        ENVELOPE: _plain(envelope_schema()),
        "Headers": {
            "type": "object",
            "properties": {
                "traceparent": {
                    "type": "string",
                    "description": "W3C trace context, where the event has one; as in its envelope.",
                }
            },
        },
    }
    for contract in contracts:
        for event in contract.events:
            schema = event_schema(event, contract.producer)
            found[name_of(event)] = _plain(schema)
            found.update({name: _plain(inner) for name, inner in schema.get("$defs", {}).items()})
    return found


def _plain(schema: Document) -> dict[str, Any]:
    """A schema that stands among the document's own: its references lead there."""
    kept = {name: value for name, value in schema.items() if not name.startswith(("$schema", "$id", "$defs", "x-"))}
    text = msgspec.json.encode(kept).replace(b'"#/$defs/', b'"#/components/schemas/')
    plain: Mapping[str, Any] = msgspec.json.decode(text)
    return dict(plain)
