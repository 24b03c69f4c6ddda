"""Which rows of the policy table hold for what, and that they only ever tighten."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tradewind.mesh.description import DeclaredRoute
from tradewind.mesh.discovery import KnownService
from tradewind.mesh.policy import Call, Demand, RateLimits, RoutePolicy, ServicePolicy
from tradewind.mesh.policy.table import (
    Operation,
    OperationError,
    PermittedCall,
    PolicyTable,
    looser,
    our_table,
    tightened,
    unknown_names,
)
from tradewind.mesh.route_config import edge_routes
from tradewind.mesh.routes import route_table
from tradewind.services.gateway.app import declared_routes
from tradewind.stack.rooms import all_rooms

SOURCES = Path(__file__).parents[2] / "src/tradewind/services"
FINANCE = Demand(roles=("finance",))


def route(path: str = "/v1/orders", *methods: str, **more: Any) -> DeclaredRoute:
    return msgspec.convert({"path": path, "methods": methods or ("GET",), **more}, type=DeclaredRoute)


@pytest.mark.parametrize(
    ("key", "method", "template", "covered"),
    [
        ("GET /v1/orders/{id}", "GET", "/v1/orders/{order_id}", True),
        ("GET /v1/orders/{id}", "POST", "/v1/orders/{id}", False),
        ("* /v1/orders/{id}", "POST", "/v1/orders/{id}", True),
        ("* /v1/orders/{id}", "GET", "/v1/orders/me", True),
        ("* /v1/orders/me", "GET", "/v1/orders/{id}", False),
        ("* /v1/ledger/{rest:path}", "GET", "/v1/ledger/accounts/{code}/statement", True),
        ("* /v1/ledger/{rest:path}", "GET", "/v1/ledgers", False),
    ],
)
def test_a_row_covers_what_has_its_form(key: str, method: str, template: str, covered: bool) -> None:
    table = PolicyTable(routes={key: RoutePolicy(retries=0)})
    assert (table.route(method, template).retries == 0) is covered


@pytest.mark.parametrize("key", ["/v1/orders", "FETCH /v1/orders", "GET v1/orders", "GET /v1/{", "GET", ""])
def test_a_key_that_names_no_operation_is_refused(key: str) -> None:
    with pytest.raises(OperationError):
        Operation.of(key)


def test_the_nearest_row_gives_each_field_and_all_demands_add_up() -> None:
    table = PolicyTable(
        routes={
            "GET /v1/a/b": RoutePolicy(timeout_s=1, demands=(Demand(scopes=("books.read",)),)),
            "* /v1/a/{rest:path}": RoutePolicy(timeout_s=5, retries=1, demands=(FINANCE,)),
        }
    )
    found = table.route("GET", "/v1/a/b")
    assert (found.timeout_s, found.retries) == (1, 1)
    assert set(found.demands) == {FINANCE, Demand(scopes=("books.read",))}
    assert table.route("GET", "/v1/a/c").timeout_s == 5


def test_a_policy_tightens_and_never_loosens() -> None:
    declared = route(timeout_s=10, max_body_bytes=1000, access="public")
    wider = tightened(declared, RoutePolicy(timeout_s=60, max_body_bytes=5000))
    assert (wider.timeout_s, wider.max_body_bytes, wider.access) == (10, 1000, "public")
    narrower = tightened(declared, RoutePolicy(timeout_s=2, max_body_bytes=0, demands=(FINANCE,)))
    assert (narrower.timeout_s, narrower.max_body_bytes, narrower.access) == (2, 0, "signed-in")


def test_a_service_that_asks_for_less_than_the_policy_demands_is_named() -> None:
    row = RoutePolicy(demands=(FINANCE,))
    assert looser(route(access="roles", roles=["finance"]), row) == []
    assert looser(route(access="roles", roles=["admin"]), row) == []
    assert looser(route(access="signed-in"), row) == ["declares access signed-in, the policy demands finance"]
    assert looser(route(access="roles", roles=["finance", "support"]), row)


@pytest.mark.parametrize("room", all_rooms())
def test_our_own_services_ask_for_at_least_what_our_policy_demands(room: str) -> None:
    api = importlib.import_module(f"tradewind.services.{room}.api").api
    table = our_table()
    for declared in declared_routes(api):
        for method in declared.methods:
            assert looser(declared, table.route(method, declared.path)) == [], f"{method} {declared.path}"


def test_every_row_of_ours_names_something_of_ours() -> None:
    services = {}
    for since, room in enumerate(all_rooms()):
        routes = tuple(declared_routes(importlib.import_module(f"tradewind.services.{room}.api").api))
        services[f"{room}-service"] = KnownService(
            service=f"{room}-service", since=since, instances=(), last_routes=routes, openapi={}
        )
    assert unknown_names(our_table(), services, route_table(services)) == []
    table = PolicyTable(services={"lost-service": ServicePolicy()}, routes={"GET /v1/lost": RoutePolicy()})
    assert unknown_names(table, services, route_table(services)) == [
        "no service lost-service is known",
        "no operation GET /v1/lost is known",
    ]


def test_permitted_calls_are_rows_of_caller_service_method_and_path() -> None:
    call = Call(caller="a-service", service="b-service", methods=("GET", "PUT"), path="/v1/x/{id}")
    assert list(PolicyTable(calls=(call, call)).permitted_calls()) == [
        PermittedCall("a-service", "b-service", "GET", "/v1/x/{id}"),
        PermittedCall("a-service", "b-service", "PUT", "/v1/x/{id}"),
    ]


def test_the_calls_our_services_make_are_those_the_table_permits() -> None:
    made = set()
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and len(node.args) > 1):
                continue
            service, target = node.args[0], node.args[1]
            if isinstance(service, ast.Constant) and str(service.value).endswith("-service"):
                assert isinstance(target, ast.Constant)
                caller = f"{path.relative_to(SOURCES).parts[0]}-service"
                made.add((caller, service.value, node.func.attr.upper(), target.value))
    permitted = {(row.caller, row.service, row.method, row.path) for row in our_table().permitted_calls()}
    assert made == permitted


def test_time_outs_tries_and_balancing_reach_the_route() -> None:
    services = {
        "order-service": KnownService(
            service="order-service", since=1, instances=(), last_routes=(route(timeout_s=4),), openapi={}
        )
    }
    table = PolicyTable(
        services={"order-service": ServicePolicy(balancing="ring-hash", edge_grace_s=0)},
        routes={"GET /v1/orders": RoutePolicy(timeout_s=2, try_timeout_s=0.5, retries=1)},
    )
    built = edge_routes(table.applied(route_table(services)), RateLimits(), table)
    groups = built["virtual_hosts"][0]["matcher"]["matcher_tree"]["prefix_match_map"]["map"]
    action = groups["/v1/orders"]["action"]["typed_config"]["routes"][0]["route"]
    assert (action["timeout"], action["retry_policy"]["per_try_timeout"]) == ("2s", "0.5s")
    assert action["retry_policy"]["num_retries"] == 1
    assert [next(iter(each)) for each in action["hash_policy"]] == ["filter_state", "connection_properties"]
