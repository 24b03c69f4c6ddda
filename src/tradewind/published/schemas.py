"""The schemas of the events, out of their types."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import msgspec

from tradewind import contracts
from tradewind.chassis.events import CONTENT_TYPE, SPEC_VERSION, Envelope, Event

Document: TypeAlias = Mapping[str, Any]

ENVELOPE = "envelope"
"""The name under which the envelope of all events is kept."""

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class Contract(NamedTuple):
    """What one producer publishes: its events, on its topic."""

    producer: str
    topic: str
    meaning: str
    events: tuple[type[Event], ...]


def all_contracts() -> tuple[Contract, ...]:
    """The contracts of all producers, by their names."""
    found: list[Contract] = []
    for module_info in pkgutil.iter_modules(contracts.__path__):
        module = importlib.import_module(f"{contracts.__name__}.{module_info.name}")
        if hasattr(module, "EVENTS"):
            meaning = inspect.getdoc(module) or ""
            found.append(Contract(module_info.name, module.TOPIC, meaning, tuple(module.EVENTS)))
    return tuple(sorted(found))


def all_schemas() -> dict[str, Document]:
    """A JSON Schema for each event type, by its name, and that of the envelope."""
    found: dict[str, Document] = {ENVELOPE: envelope_schema()}
    for contract in all_contracts():
        for event in contract.events:
            found[event.TYPE] = event_schema(event, contract.producer)
    return found


def event_schema(event: type[Event], producer: str) -> Document:
    """The JSON Schema of an event's data. `x-topic`, `x-key` and `x-producer` are part of the promise."""
    schema = msgspec.json.schema(event)
    definitions = schema["$defs"]
    own = definitions.pop(schema["$ref"].rpartition("/")[2])
    return {
        "$schema": DIALECT,
        "$id": f"urn:tradewind:event:{event.TYPE}",
        **own,
        "title": event.TYPE,
        "description": inspect.cleandoc(event.__doc__ or ""),
        "x-producer": f"{producer}-service",
        "x-topic": event.TOPIC,
        "x-key": event.KEY,
        **({"$defs": definitions} if definitions else {}),
    }


def envelope_schema() -> Document:
    """The JSON Schema of what is around the data: CloudEvents 1.0 with what every event of ours has."""
    schema = msgspec.json.schema(Envelope[Any])
    (own,) = schema["$defs"].values()
    said = {"specversion": {"const": SPEC_VERSION}, "datacontenttype": {"const": CONTENT_TYPE}}
    return {
        "$schema": DIALECT,
        "$id": "urn:tradewind:event:envelope",
        **own,
        "properties": {**own["properties"], **said},
        "title": "CloudEvents 1.0, structured JSON",
        "description": inspect.cleandoc(Envelope.__doc__ or ""),
        "required": [*own["required"], *said],
    }
