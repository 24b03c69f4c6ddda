"""One document out of many."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tradewind.services.gateway.domain import merge_openapi, usable_key_set


def document(
    *operations: tuple[str, str, str], schemas: dict[str, Any] | None = None, tag: str = "T"
) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for method, path, returns in operations:
        content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{returns}"}}}
        names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
        paths.setdefault(path, {})[method] = {
            "operationId": f"{method}_thing",
            "tags": [tag],
            "parameters": [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
            ],
            "responses": {"200": {"description": "OK", "content": content}},
        }
    return {
        "openapi": "3.1.0",
        "info": {},
        "tags": [{"name": tag}],
        "paths": paths,
        "components": {"schemas": schemas or {}},
    }


def refs(node: Any) -> list[str]:
    if isinstance(node, dict):
        return [node[name] for name in ("$ref",) if name in node] + [
            ref for value in node.values() for ref in refs(value)
        ]
    return [ref for value in node for ref in refs(value)] if isinstance(node, list) else []


MONEY = {"type": "object", "properties": {"amount_minor": {"type": "integer"}}}


def test_alike_components_are_shared_and_different_ones_kept_apart() -> None:
    def view(kind: str) -> dict[str, Any]:
        return {
            "Money": MONEY,
            "Address": {"type": "object", "properties": {kind: {"type": "string"}}},
            "View": {
                "type": "object",
                "properties": {
                    "to": {"$ref": "#/components/schemas/Address"},
                    "total": {"$ref": "#/components/schemas/Money"},
                },
            },
        }

    merged = merge_openapi(
        {
            "order-service": document(("get", "/v1/orders", "View"), schemas=view("order")),
            "user-service": document(("get", "/v1/users", "View"), schemas=view("user")),
        },
        version="1",
    )
    schemas = merged["components"]["schemas"]
    # View is written alike in both, and still not the same: it refers to what differs.
    assert set(schemas) == {"Money", "OrderAddress", "UserAddress", "OrderView", "UserView"}
    assert schemas["UserView"]["properties"]["to"] == {"$ref": "#/components/schemas/UserAddress"}
    assert {ref.rpartition("/")[2] for ref in refs(merged)} <= set(schemas)
    answer = merged["paths"]["/v1/users"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer == {"$ref": "#/components/schemas/UserView"}


def test_components_that_nothing_refers_to_are_left_out() -> None:
    nested = {"Money": MONEY, "View": {"properties": {"price": {"$ref": "#/components/schemas/Money"}}}, "Lost": {}}
    merged = merge_openapi({"a-service": document(("get", "/v1/x", "View"), schemas=nested)}, version="1")
    assert set(merged["components"]["schemas"]) == {"Money", "View"}


def test_operation_ids_are_unique() -> None:
    merged = merge_openapi(
        {
            "order-service": document(("get", "/v1/orders", "Money"), schemas={"Money": MONEY}),
            "user-service": document(("get", "/v1/users", "Money"), schemas={"Money": MONEY}),
        },
        version="1",
    )
    assert [item["get"]["operationId"] for item in merged["paths"].values()] == ["get_thing", "user_get_thing"]


def test_one_path_has_one_spelling() -> None:
    merged = merge_openapi(
        {
            "user-service": document(("get", "/v1/users/{id}", "Money"), schemas={"Money": MONEY}),
            "auth-service": document(("delete", "/v1/users/{user_id}", "Money"), schemas={"Money": MONEY}),
        },
        version="1",
    )
    (item,) = merged["paths"].values()
    assert [operation["parameters"][0]["name"] for operation in item.values()] == ["id", "id"]


def test_the_first_to_declare_an_operation_documents_it() -> None:
    merged = merge_openapi(
        {
            "a-service": document(("get", "/v1/x", "Money"), schemas={"Money": MONEY}, tag="First"),
            "b-service": document(("get", "/v1/x", "Money"), schemas={"Money": MONEY}, tag="Second"),
        },
        version="1",
    )
    assert merged["paths"]["/v1/x"]["get"]["tags"] == ["First"]


def test_services_are_left_as_they_are_and_nothing_is_still_a_document() -> None:
    mine = document(("get", "/v1/x", "Money"), schemas={"Money": MONEY})
    before = json.dumps(mine)
    merge_openapi(
        {"a-service": mine, "b-service": document(("get", "/v1/x", "Money"), schemas={"Money": {}})}, version="1"
    )
    assert json.dumps(mine) == before
    empty = merge_openapi({"a-service": {}}, version="1")
    assert (empty["openapi"], empty["paths"], empty["info"]["title"]) == ("3.1.0", {}, "Tradewind")


KEY = {"kty": "EC", "kid": "1", "x": "a", "y": "b"}


def test_a_key_set_is_served_only_if_it_is_one_and_public() -> None:
    assert usable_key_set({"keys": [KEY], "more": 1}) == {"keys": [KEY]}


@pytest.mark.parametrize(
    "wrong",
    [None, [], {}, {"keys": []}, {"keys": [{}]}, {"keys": [{**KEY, "d": "secret"}]}, {"keys": [KEY] * 33}, {"keys": 1}],
)
def test_anything_else_is_no_key_set(wrong: object) -> None:
    assert usable_key_set(wrong) is None


def test_the_document_is_the_same_whoever_came_first() -> None:
    documents = {
        "user-service": document(("get", "/v1/users", "Text"), tag="Users"),
        "order-service": document(("post", "/v1/orders", "Text"), tag="Orders"),
    }
    one, other = merge_openapi(documents, version="1"), merge_openapi(dict(reversed(documents.items())), version="1")
    assert one == other
    assert [tag["name"] for tag in one["tags"]] == ["Orders", "Users"]
