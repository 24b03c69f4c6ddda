"""Every public operation, as /openapi.json lists them, with something real to aim at."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from tests.e2e.customers import PASSWORD
from tradewind.traffic.client import ADDRESS

METHODS = ("get", "post", "put", "patch", "delete")
PRICE = {"amount_minor": 1999, "currency": "EUR"}
BODIES: Mapping[str, Any] = {
    "POST /v1/auth/register": {"email": "bad-input@example.test", "password": PASSWORD, "name": "Bad Input"},
    "POST /v1/auth/login": {"email": "nobody@example.test", "password": PASSWORD},
    "POST /v1/auth/refresh": {"refresh_token": "none"},
    "POST /v1/auth/password/change": {"current_password": "not this one", "new_password": PASSWORD},
    "POST /v1/products": {"sku": "bad-input", "name": "Bad", "price": PRICE, "stock": 1, "description": "none"},
    "PATCH /v1/products/{sku}": {"name": "Bad", "description": "none", "price": PRICE},
    "POST /v1/products/{sku}/stock": {"delta": 1},
    "POST /v1/orders": {
        "lines": [{"sku": "bad-input", "quantity": 1}],
        "payment_method": "pm_card_visa",
        "shipping_address": ADDRESS,
    },
    "POST /v1/orders/{id}/refunds": {"reason": "none", "amount": PRICE},
    "POST /v1/payments/{id}/refunds": {"reason": "none", "amount": PRICE},
    "POST /v1/orders/{id}/ship": {"carrier": "none", "tracking": "none"},
    "PATCH /v1/users/me": {"name": "Bad", "locale": "de-DE", "phone": "+4930123456"},
    "POST /v1/users/me/addresses": ADDRESS,
    "PUT /v1/users/me/addresses/{id}": ADDRESS,
    "PATCH /v1/users/me/addresses/{id}": {"name": "Bad", "city": "Berlin"},
    "PUT /v1/users/{id}/roles": {"roles": ["customer"]},
}
"""A body each operation would take, were it not for what a test does to it. The webhook's is raw and signed instead."""

QUERIES: Mapping[str, str] = {"currency": "EUR"}
"""What the query parameters that are required may be."""

WEBHOOK = "POST /v1/payments/webhooks/{provider}"


class Operation(msgspec.Struct, frozen=True):
    """One method of one path."""

    method: str
    path: str
    secured: bool
    keyed: bool
    has_body: bool
    query: tuple[str, ...]
    required: tuple[str, ...]
    roles: tuple[str, ...]
    streams: bool

    @property
    def name(self) -> str:
        """`POST /v1/orders/{id}/cancel`."""
        return f"{self.method} {self.path}"

    def at(self, targets: Mapping[str, str], **query: object) -> str:
        """The path with real names in it, by the path up to the parameter, and with `query` beside what it requires."""
        path = re.sub(r"\{\w+\}", lambda found: targets[self.path[: found.start()]], self.path)
        asked = {**{name: QUERIES[name] for name in self.required}, **query}
        return path + ("?" + "&".join(f"{name}={value}" for name, value in asked.items()) if asked else "")


def operations(document: Mapping[str, Any]) -> list[Operation]:
    """All of them, in the document's order."""
    return list(_operations(document))


def _operations(document: Mapping[str, Any]) -> Iterator[Operation]:
    for path, item in document["paths"].items():
        for method in METHODS:
            if (found := item.get(method)) is None:
                continue
            parameters = found["parameters"]
            yield Operation(
                method=method.upper(),
                path=path,
                secured=bool(found.get("security")),
                keyed=any(each["name"] == "Idempotency-Key" and each["required"] for each in parameters),
                has_body="requestBody" in found,
                query=tuple(each["name"] for each in parameters if each["in"] == "query"),
                required=tuple(each["name"] for each in parameters if each["in"] == "query" and each["required"]),
                roles=tuple(found.get("x-roles", ())),
                streams=any("text/event-stream" in each.get("content", {}) for each in found["responses"].values()),
            )


def leaves(body: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every scalar in a body, with the way to it."""
    if isinstance(body, dict):
        for name, inner in body.items():
            yield from leaves(inner, (*at, name))
    elif isinstance(body, list):
        for index, inner in enumerate(body):
            yield from leaves(inner, (*at, index))
    else:
        yield at, body


def with_raw(body: Any, at: tuple[Any, ...], raw: str) -> bytes:
    """The body as JSON, with the literal text `raw` in place of what stands at `at`."""
    if not at:
        return raw.encode()
    step, *rest = at
    inner = with_raw(body[step], tuple(rest), raw)
    if isinstance(body, dict):
        parts = [
            msgspec.json.encode(name) + b":" + (inner if name == step else msgspec.json.encode(value))
            for name, value in body.items()
        ]
        return b"{" + b",".join(parts) + b"}"
    parts = [inner if index == step else msgspec.json.encode(value) for index, value in enumerate(body)]
    return b"[" + b",".join(parts) + b"]"
