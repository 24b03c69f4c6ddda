"""One OpenAPI document out of many, and which key sets may be served. Pure."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
MAX_KEYS = 32

_COMPONENT_REF = re.compile(r"#/components/([^/]+)/(.+)")
_DESCRIPTION = (
    "The public operations of every service, through one door. Send `Authorization: Bearer <access token>` where an "
    "operation asks for it, and an `Idempotency-Key` on every POST that moves goods or money. Errors are RFC 9457 "
    "problems with a stable `code`."
)

_Component: TypeAlias = tuple[str, str]
"""Section and name of a component: ("schemas", "OrderView")."""


def merge_openapi(documents: Mapping[str, Json], *, version: str) -> Json:
    """The OpenAPI 3.1 document of all services; `documents` are theirs by service, in the order of precedence.

    A component that several services define alike is shared; one that differs, itself or in what it refers to, gets
    the room's name in front (`OrderAddress`). The same is done for operation ids. Where two paths differ only in the
    names of their parameters, the first one's names are used, as the standard asks for.
    """
    documents = {service: copy.deepcopy(document) for service, document in documents.items() if document.get("paths")}
    differing = _differing(documents.values())
    taken_ids: set[str] = set()
    merged: Json = {
        "openapi": "3.1.0",
        "info": {"title": "Tradewind", "version": version, "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "tags": [],
        "paths": {},
        "components": {},
    }
    spellings: dict[str, str] = {}
    for service, document in documents.items():
        prefix = _prefix(service)
        _rename_refs(document, {component: prefix + component[1] for component in differing})
        for (section, name), body in _components(document):
            key = prefix + name if (section, name) in differing else name
            merged["components"].setdefault(section, {}).setdefault(key, body)
        for tag in document.get("tags", ()):
            if tag["name"] not in {known["name"] for known in merged["tags"]}:
                merged["tags"].append(tag)
        for path, item in document["paths"].items():
            spelling = spellings.setdefault(re.sub(r"\{[^}]*\}", "{}", path), path)
            _rename_parameters(item, path, spelling)
            for method, operation in _operations(item):
                operation_id = operation.get("operationId")
                if operation_id in taken_ids:
                    operation["operationId"] = f"{prefix[0].lower()}{prefix[1:]}_{operation_id}"
                taken_ids.add(operation.get("operationId", ""))
                merged["paths"].setdefault(spelling, {}).setdefault(method, operation)
    # By name, not by who came first: the document is the same after each start.
    merged["tags"].sort(key=lambda tag: str(tag["name"]))
    merged["paths"] = dict(sorted(merged["paths"].items()))
    merged["components"] = _reachable(merged["components"], merged["paths"])
    return merged


def usable_key_set(document: object) -> Json | None:
    """`document` as a JSON Web Key Set to serve, or None when it is not one that could verify a token.

    Private members are a reason to refuse the whole set: it must not become public through us.
    """
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list) or not 0 < len(keys) <= MAX_KEYS:
        return None
    if not all(isinstance(key, dict) and key.get("kty") and key.get("kid") and "d" not in key for key in keys):
        return None
    return {"keys": keys}


def _prefix(service: str) -> str:
    return service.removesuffix("-service").capitalize()


def _components(document: Json) -> Iterator[tuple[_Component, Any]]:
    for section, bodies in document.get("components", {}).items():
        for name, body in bodies.items():
            yield (section, name), body


def _operations(item: Json) -> Iterator[tuple[str, Json]]:
    return ((method, item[method]) for method in METHODS if method in item)


def _differing(documents: Iterable[Json]) -> set[_Component]:
    """Components of one name that are not the same thing everywhere: differing themselves, or referring to such."""
    written: dict[_Component, set[str]] = {}
    refers_to: dict[_Component, set[_Component]] = {}
    for document in documents:
        for component, body in _components(document):
            written.setdefault(component, set()).add(json.dumps(body, sort_keys=True))
            refers_to.setdefault(component, set()).update(
                _component_of(holder["$ref"]) for holder in _ref_holders(body)
            )
    differing = {component for component, texts in written.items() if len(texts) > 1}
    while True:
        reached = {component for component, targets in refers_to.items() if targets & differing} - differing
        if not reached:
            return differing
        differing |= reached


def _reachable(components: Json, paths: Json) -> Json:
    """The components that `paths` refer to, directly or not; security schemes are named otherwise and all stay."""
    found: set[_Component] = set()
    fresh = {_component_of(holder["$ref"]) for holder in _ref_holders(paths)}
    while fresh:
        found |= fresh
        bodies = [components.get(section, {}).get(name) for section, name in fresh]
        fresh = {_component_of(holder["$ref"]) for holder in _ref_holders(bodies)} - found
    return {
        section: {
            name: body for name, body in bodies.items() if section == "securitySchemes" or (section, name) in found
        }
        for section, bodies in components.items()
    }


def _ref_holders(node: Any) -> Iterator[Json]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node
        for value in node.values():
            yield from _ref_holders(value)
    elif isinstance(node, list):
        for value in node:
            yield from _ref_holders(value)


def _component_of(ref: str) -> _Component:
    found = _COMPONENT_REF.fullmatch(ref)
    return (found[1], found[2]) if found else ("", ref)


def _rename_refs(document: Json, names: Mapping[_Component, str]) -> None:
    for holder in _ref_holders(document):
        section, _ = component = _component_of(holder["$ref"])
        if component in names:
            holder["$ref"] = f"#/components/{section}/{names[component]}"
    for holder in _discriminators(document):
        holder["mapping"] = {
            value: f"#/components/schemas/{names[component]}" if (component := _component_of(ref)) in names else ref
            for value, ref in holder["mapping"].items()
        }


def _discriminators(node: Any) -> Iterator[Json]:
    if isinstance(node, dict):
        found = node.get("discriminator")
        if isinstance(found, dict) and isinstance(found.get("mapping"), dict):
            yield found
        for value in node.values():
            yield from _discriminators(value)
    elif isinstance(node, list):
        for value in node:
            yield from _discriminators(value)


def _rename_parameters(item: Json, path: str, spelling: str) -> None:
    if path == spelling:
        return
    names = dict(zip(re.findall(r"\{([^}]*)\}", path), re.findall(r"\{([^}]*)\}", spelling), strict=True))
    for _, operation in _operations(item):
        for parameter in operation.get("parameters", ()):
            if parameter.get("in") == "path":
                parameter["name"] = names.get(parameter["name"], parameter["name"])
