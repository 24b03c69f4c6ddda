"""Requests and answers held to Stripe's OpenAPI description."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import msgspec

_EXTRACT = Path(__file__).parent / "openapi.json"
LOOKED_AT = 3
_INDEX = re.compile(r"\[([^\]]*)\]")
_INTEGER = re.compile(r"-?\d{1,18}")


class Refused(Exception):
    """A parameter is wrong: what Stripe answers with 400."""

    def __init__(self, code: str, param: str, message: str) -> None:
        super().__init__(f"{code} {param}: {message}")
        self.code = code
        self.param = param
        self.message = message


class NoSuchOperation(Exception):
    """The description has no such path or method."""


class Operation(msgspec.Struct, frozen=True):
    """An operation that the description has: its path template, the values in the path, and its own part of the text."""

    method: str
    path: str
    values: Mapping[str, str]
    spec: Mapping[str, Any]


@functools.cache
def description() -> dict[str, Any]:
    """The extract."""
    return dict(msgspec.json.decode(_EXTRACT.read_bytes()))


def version() -> str:
    """The version of the API that is described."""
    return str(description()["info"]["version"])


def fixture(name: str) -> dict[str, Any]:
    """A fresh copy of Stripe's own example of an object."""
    return dict(msgspec.json.decode(msgspec.json.encode(description()["fixtures"][name])))


def find_operation(method: str, path: str) -> Operation:
    """Raises NoSuchOperation."""
    # The literal paths first: `/search` is also something that would fit `{intent}`.
    for template in sorted(description()["paths"], key=lambda template: "{" in template):
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template)
        found = re.fullmatch(pattern, path)
        spec = description()["paths"][template].get(method.lower())
        if found and spec is not None:
            return Operation(method, template, found.groupdict(), spec)
    raise NoSuchOperation(f"{method} {path}")


def read_body(operation: Operation, pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The body's parameters with their types. Raises Refused."""
    content = operation.spec["requestBody"]["content"]["application/x-www-form-urlencoded"]
    return dict(_typed(_nested(pairs), content["schema"], ""))


def read_query(operation: Operation, pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The query's parameters with their types. Raises Refused."""
    known = [each for each in operation.spec.get("parameters", []) if each["in"] == "query"]
    schema = {
        "type": "object",
        "properties": {each["name"]: each["schema"] for each in known},
        "required": [each["name"] for each in known if each.get("required")],
    }
    return dict(_typed(_nested(pairs), schema, ""))


def check_answer(operation: Operation, status: int, body: Any) -> None:
    """Raises jsonschema.ValidationError: the description knows no such answer. Of a list the first items are looked at."""
    if isinstance(body.get("data"), list):
        body = body | {"data": body["data"][:LOOKED_AT]}
    _answer_validator(operation.path, operation.method.lower(), "200" if status == 200 else "default").validate(body)


def check_object(name: str, body: Any) -> None:
    """Raises jsonschema.ValidationError: the description knows no such object."""
    _object_validator(name).validate(body)


@functools.cache
def _components() -> Any:
    return _json_schema(description()["components"])


@functools.cache
def _answer_validator(path: str, method: str, status: str) -> Any:
    schema = description()["paths"][path][method]["responses"][status]["content"]["application/json"]["schema"]
    return jsonschema.Draft202012Validator({**_json_schema(schema), "components": _components()})


@functools.cache
def _object_validator(name: str) -> Any:
    return jsonschema.Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": _components()},
    )


def _json_schema(node: Any) -> Any:
    """OpenAPI 3.0 as JSON Schema: `nullable` is a type, and an object has the fields it says and no other."""
    if isinstance(node, list):
        return [_json_schema(each) for each in node]
    if not isinstance(node, dict):
        return node
    made = {key: _json_schema(value) for key, value in node.items() if key != "nullable"}
    if isinstance(node.get("properties"), dict) and node.get("type") == "object":
        made.setdefault("additionalProperties", False)
    if node.get("nullable") is True:
        return {"anyOf": [made, {"type": "null"}]}
    return made


def _nested(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """`a[b]=1`, `c[0]=2`, `d[]=3` as objects; lists are objects with numbers until the schema says so."""
    nested: dict[str, Any] = {}
    for name, value in pairs:
        first = name.split("[", 1)[0]
        at = nested
        keys = [first, *_INDEX.findall(name)]
        for key in keys[:-1]:
            at = at.setdefault(key, {})
            if not isinstance(at, dict):
                raise Refused("parameter_invalid", name, "It is given twice.")
        last = keys[-1] or str(len(at))
        if last in at:
            raise Refused("parameter_invalid", name, "It is given twice.")
        at[last] = value
    return nested


def _typed(value: Any, schema: Mapping[str, Any], path: str) -> Any:
    """The value as the schema wants it; the schema's choices are tried in turn."""
    if "anyOf" in schema:
        refusals = []
        for choice in schema["anyOf"]:
            try:
                return _typed(value, choice, path)
            except Refused as exc:
                refusals.append(exc)
        raise refusals[0]
    match schema.get("type"):
        case "object":
            return _object(value, schema, path)
        case "array":
            if not isinstance(value, dict):
                raise Refused("parameter_invalid_array", path, "It is no list.")
            return [_typed(each, schema["items"], f"{path}[{index}]") for index, each in value.items()]
        case "string":
            return _string(value, schema, path)
        case "integer":
            if not isinstance(value, str) or not _INTEGER.fullmatch(value):
                raise Refused("parameter_invalid_integer", path, "It is no integer.")
            return int(value)
        case "boolean":
            if value not in ("true", "false"):
                raise Refused("parameter_invalid_boolean", path, "It is neither true nor false.")
            return value == "true"
        case other:
            raise NotImplementedError(f"{path}: {other}")


def _object(value: Any, schema: Mapping[str, Any], path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Refused("parameter_invalid_object", path, "It is no object.")
    properties = schema.get("properties", {})
    others = schema.get("additionalProperties", False)
    made = {}
    for key, each in value.items():
        where = f"{path}[{key}]" if path else key
        if key in properties:
            made[key] = _typed(each, properties[key], where)
        elif isinstance(others, dict):
            made[key] = _typed(each, others, where)
        else:
            raise Refused("parameter_unknown", where, f"Received unknown parameter: {where}")
    for name in schema.get("required", ()):
        if name not in made:
            where = f"{path}[{name}]" if path else name
            raise Refused("parameter_missing", where, f"Missing required param: {where}.")
    return made


def _string(value: Any, schema: Mapping[str, Any], path: str) -> str:
    if not isinstance(value, str):
        raise Refused("parameter_invalid_string", path, "It is no string.")
    if "enum" in schema and value not in schema["enum"]:
        raise Refused("parameter_invalid_string", path, f"It is none of {schema['enum']}.")
    if len(value) > schema.get("maxLength", len(value)):
        raise Refused("parameter_invalid_string", path, "It is too long.")
    return value
