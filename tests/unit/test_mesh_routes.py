"""The order of routes, who serves what, and how it is said to Envoy."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradewind.mesh.description import DeclaredRoute, Instance
from tradewind.mesh.discovery import KnownService
from tradewind.mesh.policy import RateLimits
from tradewind.mesh.policy.table import PolicyTable
from tradewind.mesh.route_config import edge_routes, egress_routes
from tradewind.mesh.routes import PathPattern, TemplateError, route_table, template_faults

JWT = "envoy.filters.http.jwt_authn"
BUFFER = "envoy.filters.http.buffer"


def route(path: str, *methods: str, **more: Any) -> DeclaredRoute:
    return msgspec.convert({"path": path, "methods": methods or ("GET",), **more}, type=DeclaredRoute)


def known(service: str, since: int, *routes: DeclaredRoute) -> KnownService:
    return KnownService(service=service, since=since, instances=(), last_routes=routes, openapi={})


def table_of(*routes: DeclaredRoute) -> Any:
    return route_table({"order-service": known("order-service", 1, *routes)})


def first_match(paths: Any, path: str) -> str | None:
    return next((each.pattern.text for each in paths if re.fullmatch(each.pattern.regex, path)), None)


def test_the_most_specific_pattern_matches_first() -> None:
    table = table_of(
        route("/v1/files/{rest:path}"), route("/v1/orders/{id}"), route("/v1/orders/{id}/events"), route("/v1/orders/me"),
        route("/v1/orders/{id}:cancel"), route("/v1/{thing}/{id}"), route("/v1/orders"),
    )  # fmt: skip
    expected = {
        "/v1/orders": "/v1/orders",
        "/v1/orders/me": "/v1/orders/me",
        "/v1/orders/7": "/v1/orders/{}",
        "/v1/orders/7:cancel": "/v1/orders/{}:cancel",
        "/v1/orders/7/events": "/v1/orders/{}/events",
        "/v1/users/7": "/v1/{}/{}",
        "/v1/files/a": "/v1/files/{*}",
        "/v1/files/a/b": "/v1/files/{*}",
        "/v1/orders/7/events/x": None,
        "/v1/orders/": None,
        "/v1/orders-7": None,
    }
    assert {path: first_match(table.paths, path) for path in expected} == expected


@given(st.lists(st.sampled_from(["a", "b", "{x}", "{y}", "a.{z}"]), min_size=1, max_size=4))
def test_a_pattern_matches_its_own_template_filled_in(segments: list[str]) -> None:
    template = "/" + "/".join(segments)
    filled = re.sub(r"\{\w+\}", "7-é", template)
    pattern = PathPattern.of(template)
    assert re.fullmatch(pattern.regex, filled)
    assert filled.startswith(pattern.group)
    assert not re.fullmatch(pattern.regex, filled + "/more")


@pytest.mark.parametrize("template", ["/v1/{", "/v1/}", "/v1/{}", "/v1/{a", "/v1/{a}}", "/v1/{a-b}"])
def test_what_is_no_template_is_said(template: str) -> None:
    with pytest.raises(TemplateError):
        PathPattern.of(template)
    assert template_faults([msgspec.structs.replace(route("/x"), path=template)])


def test_paths_that_differ_only_in_names_are_one_with_the_methods_of_both() -> None:
    services = {
        "user-service": known("user-service", 1, route("/v1/users/{id}", "GET")),
        "auth-service": known("auth-service", 2, route("/v1/users/{user_id}", "DELETE")),
    }
    (path,) = route_table(services).paths
    assert path.allow == "GET, HEAD, DELETE"
    assert [target.service for target in path.targets.values()] == ["user-service", "auth-service"]


def test_the_first_service_keeps_an_operation_and_the_conflict_is_told() -> None:
    services = {
        "thief-service": known("thief-service", 9, route("/v1/orders", "GET", "POST")),
        "order-service": known("order-service", 1, route("/v1/orders", "GET")),
    }
    table = route_table(services)
    (path,) = table.paths
    assert {method: target.service for method, target in path.targets.items()} == {
        "GET": "order-service",
        "POST": "thief-service",
    }
    (conflict,) = table.conflicts
    assert (conflict.operation, conflict.service, conflict.served_by) == (
        "GET /v1/orders",
        "thief-service",
        "order-service",
    )


def test_the_control_planes_own_operations_win_without_a_word() -> None:
    keys = route("/.well-known/jwks.json")
    table = route_table({"auth-service": known("auth-service", 1, keys)}, [("gateway-service", keys)])
    assert [path.targets["GET"].service for path in table.paths] == ["gateway-service"]
    assert table.conflicts == ()


def test_routes_are_the_union_over_instances_and_outlive_them() -> None:
    def instance(name: str, *routes: DeclaredRoute) -> Instance:
        return Instance(
            service="order-service", room="order", instance=name, address="a", port=1, management_port=2, routes=routes
        )

    old, new, last = route("/v1/old"), route("/v1/new"), route("/v1/last")
    both = KnownService(
        service="order-service", since=1, instances=(instance("order-1", old), instance("order-2", old, new)),
        last_routes=(last,), openapi={},
    )  # fmt: skip
    assert both.routes == (old, new)
    assert msgspec.structs.replace(both, instances=()).routes == (last,)


def flat(config: Any) -> list[Any]:
    """All routes of the edge, whatever group they are in."""
    (host,) = config["virtual_hosts"]
    groups = host["matcher"]["matcher_tree"]["prefix_match_map"]["map"]
    lists = [*groups.values(), host["matcher"]["on_no_match"]]
    return [each for group in lists for each in group["action"]["typed_config"]["routes"]]


def named(config: Any, name: str) -> list[Any]:
    return [each for each in flat(config) if each.get("name") == name]


def test_only_idempotent_operations_split_on_the_key() -> None:
    config = edge_routes(
        table_of(
            route("/v1/orders", "POST", idempotent=True), route("/v1/login", "POST"), route("/v1/orders/{id}", "PATCH"),
            route("/v1/orders"),
        ),
        RateLimits(), PolicyTable(),
    )  # fmt: skip

    def retries(name: str) -> list[tuple[bool, bool]]:
        return [
            (
                any(header["name"] == "idempotency-key" for header in each["match"]["headers"]),
                "reset" in each["route"]["retry_policy"]["retry_on"].split(","),
            )
            for each in named(config, name)
        ]

    assert retries("POST /v1/orders") == [(True, True), (False, False)]
    assert retries("POST /v1/login") == [(False, False)]
    assert retries("PATCH /v1/orders/{id}") == [(False, False)]
    assert retries("GET /v1/orders") == [(False, True)]


def test_access_becomes_a_token_requirement() -> None:
    config = edge_routes(
        table_of(
            route("/v1/a", access="public"), route("/v1/b", access="optional"), route("/v1/c", access="signed-in"),
            route("/v1/d", access="roles", roles=["admin"]),
        ),
        RateLimits(), PolicyTable(),
    )  # fmt: skip
    assert named(config, "GET /v1/a")[0]["typed_per_filter_config"][JWT]["disabled"] is True
    assert named(config, "GET /v1/b")[0]["typed_per_filter_config"][JWT]["requirement_name"] == "token-optional"
    for guarded in ("GET /v1/c", "GET /v1/d"):
        assert JWT not in named(config, guarded)[0]["typed_per_filter_config"]
    (host,) = config["virtual_hosts"]
    assert host["typed_per_filter_config"][JWT]["requirement_name"] == "token-required"


def test_streams_have_no_time_limit_and_no_buffer() -> None:
    config = edge_routes(
        table_of(route("/v1/events", stream=True), route("/v1/orders", timeout_s=2.0)), RateLimits(), PolicyTable()
    )
    (stream,) = named(config, "GET /v1/events")
    assert (stream["route"]["timeout"], stream["route"]["idle_timeout"]) == ("0s", "0s")
    assert BUFFER not in stream["typed_per_filter_config"]
    (usual,) = named(config, "GET /v1/orders")
    assert (usual["route"]["timeout"], usual["route"]["idle_timeout"]) == ("3s", "60s")
    assert usual["typed_per_filter_config"][BUFFER]["buffer"] == {"max_request_bytes": 1024 * 1024}


def test_every_list_ends_with_404_and_every_path_with_405() -> None:
    config = edge_routes(table_of(route("/v1/orders"), route("/v1/{any}"), route("/docs")), RateLimits(), PolicyTable())
    (host,) = config["virtual_hosts"]
    groups = host["matcher"]["matcher_tree"]["prefix_match_map"]["map"]
    assert set(groups) == {"/v1/orders", "/v1", "/docs"}
    for group in groups.values():
        routes = group["action"]["typed_config"]["routes"]
        assert routes[-1]["direct_response"] == {"status": 404}
    # What /v1/{any} could match is also searched below a longer literal start.
    texts = json.dumps(groups["/v1/orders"])
    assert "/v1/[^/]+" in texts
    refusal = next(each for each in flat(config) if each.get("direct_response") == {"status": 405})
    assert refusal["response_headers_to_add"][0]["header"] == {"key": "allow", "value": "GET, HEAD"}


def test_an_empty_table_is_all_404() -> None:
    (host,) = edge_routes(route_table({}), RateLimits(), PolicyTable())["virtual_hosts"]
    assert [each["direct_response"]["status"] for each in host["routes"]] == [404]


def test_the_egress_knows_services_by_name_and_nothing_else() -> None:
    service = known(
        "order-service", 1, route("/v1/orders"), route("/v1/events", stream=True), route("/v1/x", timeout_s=60)
    )
    config = egress_routes({"order-service": service}, PolicyTable(), also=("gateway-service",))
    hosts = {host["name"]: host for host in config["virtual_hosts"]}
    assert list(hosts) == ["gateway-service", "order-service", "unknown"]
    assert hosts["unknown"]["routes"][0]["direct_response"] == {"status": 404}
    timeouts = [each["route"]["timeout"] for each in hosts["order-service"]["routes"]]
    assert timeouts == ["0s", "61s", "15s", "15s", "15s"]
    repeatable = [
        "reset" in each["route"]["retry_policy"]["retry_on"].split(",") for each in hosts["order-service"]["routes"]
    ]
    assert repeatable == [False, False, True, True, False]
