"""The OpenAPI 3.1 document of an `Api`, made from the very types that decode its requests."""

from __future__ import annotations

import inspect
import typing
from http import HTTPStatus
from typing import Any

import msgspec

from tradewind.chassis.http.api import Api, Operation
from tradewind.chassis.http.binding import Signature, signature_of
from tradewind.chassis.http.values import DEFAULT_LIMIT, MAX_LIMIT, Reply

REF_TEMPLATE = "#/components/schemas/{name}"
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457 problem details. `code` is stable.",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "request_id": {"type": "string"},
        "trace_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "pointer": {"type": "string"},
                    "code": {"type": "string"},
                    "detail": {"type": "string"},
                },
                "required": ["pointer", "code"],
            },
        },
    },
    "required": ["type", "title", "status", "detail", "code"],
}


def openapi_document(api: Api, *, version: str) -> dict[str, Any]:
    """The document of all listed operations of `api`."""
    listed = [(operation, signature_of(operation)) for operation in api.operations if operation.listed]
    kinds = [kind for _, signature in listed for kind in _json_kinds(signature)]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=REF_TEMPLATE)
    schema_of = {repr(kind): schema for kind, schema in zip(kinds, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for operation, signature in listed:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(
            api, operation, signature, schema_of
        )
    return {
        "openapi": "3.1.0",
        "info": {"title": f"Tradewind {api.tag}", "version": version, "description": api.description},
        "tags": [{"name": api.tag, "description": api.description}],
        "paths": paths,
        "components": {
            "schemas": {**components, "Problem": _PROBLEM},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def answer_kind(returns: Any) -> Any | None:
    """The JSON type of an answer: the argument of `Reply[...]`, the type itself, or None for no body."""
    if typing.get_origin(returns) is Reply:
        returns = typing.get_args(returns)[0]
    if returns is None or returns is type(None):
        return None
    if inspect.isclass(returns) and returns.__module__.startswith("starlette"):
        return None
    return returns


def _json_kinds(signature: Signature) -> list[Any]:
    kinds = [parameter.kind for parameter in signature.parameters]
    if signature.body is not None and signature.body is not bytes:
        kinds.append(signature.body)
    answer = answer_kind(signature.returns)
    return kinds if answer is None else [*kinds, answer]


def _operation(api: Api, operation: Operation, signature: Signature, schema_of: dict[str, Any]) -> dict[str, Any]:
    summary, _, description = inspect.cleandoc(operation.handler.__doc__ or operation.name).partition("\n")
    document: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [api.tag],
        "summary": summary.rstrip("."),
        "parameters": _parameters(operation, signature, schema_of),
        "responses": _responses(operation, signature, schema_of),
    }
    if description.strip():
        document["description"] = description.strip()
    if operation.access.kind == "optional":
        document["security"] = [{"bearer": []}, {}]
    elif operation.access.kind != "public":
        document["security"] = [{"bearer": []}]
    if operation.access.roles:
        document["x-roles"] = list(operation.access.roles)
    if signature.body is not None:
        content: dict[str, Any] = {} if signature.body is bytes else {"schema": schema_of[repr(signature.body)]}
        document["requestBody"] = {"required": True, "content": {"application/json": content}}
    return document


def _parameters(operation: Operation, signature: Signature, schema_of: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for parameter in signature.parameters:
        schema = dict(schema_of[repr(parameter.kind)])
        if not parameter.required and parameter.default is not None:
            schema["default"] = parameter.default
        found.append({"name": parameter.name, "in": parameter.where, "required": parameter.required, "schema": schema})
    if signature.paged:
        limit = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
        found.append({"name": "limit", "in": "query", "required": False, "schema": limit})
        found.append({"name": "cursor", "in": "query", "required": False, "schema": {"type": "string"}})
    if signature.if_match:
        found.append({"name": "If-Match", "in": "header", "required": False, "schema": {"type": "string"}})
    if operation.idempotent:
        key = {"type": "string", "minLength": 1, "maxLength": 255}
        found.append({"name": "Idempotency-Key", "in": "header", "required": True, "schema": key})
    return found


def _responses(operation: Operation, signature: Signature, schema_of: dict[str, Any]) -> dict[str, Any]:
    normal: dict[str, Any] = {"description": HTTPStatus(operation.status).phrase}
    answer = answer_kind(signature.returns)
    if operation.stream:
        normal["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
    elif answer is not None and operation.status != HTTPStatus.NO_CONTENT:
        normal["content"] = {"application/json": {"schema": schema_of[repr(answer)]}}
    refusals = "A problem."
    if operation.raises:
        refusals += " Codes of this operation: " + ", ".join(f"`{slug}`" for slug in operation.raises) + "."
    problem = {
        "description": refusals,
        "content": {"application/problem+json": {"schema": {"$ref": REF_TEMPLATE.format(name="Problem")}}},
    }
    return {str(operation.status): normal, "default": problem}
