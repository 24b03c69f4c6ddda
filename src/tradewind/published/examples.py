"""An example of each event, made from its schema: values that read like real ones, by the names of their fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tradewind.published.schemas import Document

_BY_NAME: Mapping[str, Any] = {
    "user_id": "0199c0de-0000-7000-8000-000000000001",
    "customer_id": "0199c0de-0000-7000-8000-000000000001",
    "order_id": "0199c0de-0000-7000-8000-000000000002",
    "payment_id": "0199c0de-0000-7000-8000-000000000003",
    "refund_id": "0199c0de-0000-7000-8000-000000000004",
    "email": "ada@example.test",
    "name": "Ada Lovelace",
    "roles": ["customer"],
    "locale": "en-GB",
    "number": "TW-2026-000042",
    "payment_method": "pm_card_visa",
    "sku": "mug-blue",
    "quantity": 2,
    "amount_minor": 1999,
    "currency": "EUR",
    "carrier": "Posten",
    "tracking": "NO123456789",
    "code": "card_declined",
    "reason": "damaged",
    "action_url": "https://pay.example.test/challenge/42",
}
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def envelope(schema: Document) -> dict[str, Any]:
    """A whole event of the type that `schema` describes, as it is on the wire."""
    data = example(schema, schema.get("$defs", {}))
    return {
        "specversion": "1.0",
        "id": "0199c0de-0000-7000-8000-00000000000a",
        "source": schema["x-producer"],
        "type": schema["title"],
        "subject": data[schema["x-key"]],
        "time": "2026-03-04T05:06:07.890123Z",
        "datacontenttype": "application/json",
        "aggregateversion": 1,
        "traceparent": TRACEPARENT,
        "data": data,
    }


def example(schema: Document, definitions: Document, name: str = "") -> Any:
    """A value that `schema` allows, for a field called `name`."""
    if reference := schema.get("$ref"):
        return example(definitions[reference.rpartition("/")[2]], definitions, name)
    if alternatives := schema.get("anyOf"):
        return example(alternatives[0], definitions, name)
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            fields = schema.get("properties", {})
            return {field: example(inner, definitions, field) for field, inner in fields.items()}
        case "array":
            return _BY_NAME.get(name) or [example(schema.get("items", {}), definitions, name)]
        case "string":
            return _text(schema, name)
        case "integer":
            return _BY_NAME.get(name, schema.get("minimum", 1))
        case "number":
            return 1.5
        case "boolean":
            return True
        case _:
            return None


def _text(schema: Document, name: str) -> str:
    if schema.get("format") == "date-time":
        return "2026-03-04T05:06:07Z"
    found = _BY_NAME.get(name, name.replace("_", " ") or "text")
    return str(found)
