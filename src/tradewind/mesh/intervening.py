"""Interventions as Envoy is told of them: changes to the edge's routes, and clusters of single versions. Pure.

Works on the snapshot as it is otherwise made, route by route, so that whoever makes it need not know of them. Routes
carry their operation as their name and their service as their cluster. No listener changes: the filters that do the
work stand in the chain, switched off, and a route switches them on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tradewind.mesh.clusters import endpoints
from tradewind.mesh.demands import CLAIMS, MIGHTY_ROLE
from tradewind.mesh.discovery import KnownService
from tradewind.mesh.envoy_json import Json, any_of, duration, set_header
from tradewind.mesh.intervention_filters import (
    FAULT_FILTER,
    FAULT_TYPE,
    GUARD_FILTER,
    GUARD_POLICY,
    TOKEN_LOOKED_AT,
)
from tradewind.mesh.interventions import HEADER, Canary, Fault, Intervention, Maintenance, Shadow, kind_of
from tradewind.mesh.route_config import EDGE, JWT_FILTER
from tradewind.mesh.xds import Kind

_JWT_ROUTE = "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig"
_GUARD_ROUTE = "envoy.extensions.filters.http.rbac.v3.RBACPerRoute"


def intervened(
    snapshot: Mapping[Kind, Mapping[str, Json]],
    services: Mapping[str, KnownService],
    interventions: Iterable[Intervention],
) -> dict[Kind, Mapping[str, Json]]:
    """`snapshot`, made of `services`, with `interventions` done to it; the arguments stay as they are.

    A canary or a shadow whose version has no instance now is left out: it must not cost the requests it is to take. Each version of a
    service that runs in two has a cluster before any route leads there.
    """
    running = [each.what for each in interventions]
    alive = {name: {each.version for each in known.instances} for name, known in services.items()}
    doable = [
        what for what in running if not isinstance(what, Canary | Shadow) or what.version in alive.get(what.service, ())
    ]
    clusters, assignments = dict(snapshot["clusters"]), dict(snapshot["endpoints"])
    for service, known in services.items():
        versions = {version for version in alive[service] if version}
        on_trial = {what.version for what in doable if isinstance(what, Canary | Shadow) and what.service == service}
        if service not in clusters or (len(versions) < 2 and not on_trial):
            continue
        others = [each for each in known.instances if each.version not in on_trial]
        # With nothing but instances on trial all of them stay: a trial never empties a service.
        assignments[service] = endpoints(service, others or known.instances)
        for version in versions:
            name = version_cluster(service, version)
            # A dot would part the name of a figure.
            clusters[name] = {**clusters[service], "name": name, "alt_stat_name": name.replace(".", "_")}
            assignments[name] = endpoints(name, (each for each in known.instances if each.version == version))
    routes = dict(snapshot["routes"])
    if doable:
        routes[EDGE] = dict(_rewritten(routes[EDGE], doable))
    return {"clusters": clusters, "endpoints": assignments, "routes": routes}


def version_cluster(service: str, version: str) -> str:
    """The name of the cluster of the instances of one version."""
    return f"{service}@{version}"


def _rewritten(node: Any, running: Sequence[Any]) -> Any:
    if isinstance(node, dict):
        return {
            key: [changed for route in value for changed in _changed(route, running)]
            if key == "routes" and isinstance(value, list)
            else _rewritten(value, running)
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [_rewritten(each, running) for each in node]
    return node


def _changed(route: Json, running: Sequence[Any]) -> Iterator[Json]:
    """What stands in place of `route`: itself, with or without changes, and before it one for a canary's header.

    What is no operation of a service (a preflight, a refusal) is left as it is.
    """
    cluster = route.get("route", {}).get("cluster")
    if not isinstance(cluster, str) or " /" not in route.get("name", ""):
        yield route
        return
    kinds: list[str] = []
    before: list[Json] = []
    for what in running:
        match what:
            case Maintenance() if what.service in (None, cluster):
                route = _guarded(route, what)
            case Fault() if what.operation == route.get("name"):
                route = _faulty(route, what)
            case Shadow() if what.service == cluster and _may_be_doubled(route):
                route = _mirrored(route, what)
            case Canary() if what.service == cluster:
                route, chosen = _divided(route, what)
                before += chosen
            case _:
                continue
        kinds.append(kind_of(what))
    for each in (*before, route):
        yield _told(each, kinds) if kinds else each


def _told(route: Json, kinds: Sequence[str]) -> Json:
    header = set_header(HEADER, ", ".join(sorted(set(kinds))))
    return {**route, "response_headers_to_add": [*route.get("response_headers_to_add", ()), header]}


def _with_filter(route: Json, **filters: Json) -> Json:
    return {**route, "typed_per_filter_config": {**route.get("typed_per_filter_config", {}), **filters}}


def _guarded(route: Json, what: Maintenance) -> Json:
    """Refused to all but administrators. The token is only looked at: without one, or with a bad one, it is maintenance too."""
    admin = {
        "metadata": {
            "filter": JWT_FILTER,
            "path": [{"key": CLAIMS}, {"key": "roles"}],
            "value": {"list_match": {"one_of": {"string_match": {"exact": MIGHTY_ROLE}}}},
        }
    }
    rules = {
        "action": "DENY",
        "policies": {GUARD_POLICY: {"permissions": [{"any": True}], "principals": [{"not_id": admin}]}},
    }
    guarded = _with_filter(
        route,
        **{
            JWT_FILTER: any_of(_JWT_ROUTE, requirement_name=TOKEN_LOOKED_AT),
            GUARD_FILTER: any_of(_GUARD_ROUTE, rbac={"rules": rules}),
        },
    )
    retry = set_header("retry-after", str(what.retry_after_s), "ADD_IF_ABSENT")
    return {**guarded, "response_headers_to_add": [*route.get("response_headers_to_add", ()), retry]}


def _faulty(route: Json, what: Fault) -> Json:
    share = {"numerator": what.percent, "denominator": "HUNDRED"}
    fault: Json = {}
    if what.delay_ms:
        fault["delay"] = {"fixed_delay": duration(what.delay_ms / 1000), "percentage": share}
    if what.abort_status:
        fault["abort"] = {"http_status": what.abort_status, "percentage": share}
    return _with_filter(route, **{FAULT_FILTER: any_of(FAULT_TYPE, **fault)})


def _may_be_doubled(route: Json) -> bool:
    """Only reads, and none that lasts: a stream's copy would stay open for nobody."""
    return str(route.get("name", "")).startswith("GET ") and route["route"].get("timeout") != "0s"


def _mirrored(route: Json, what: Shadow) -> Json:
    policy = {
        "cluster": version_cluster(what.service, what.version),
        "runtime_fraction": {"default_value": {"numerator": what.percent, "denominator": "HUNDRED"}},
    }
    return {**route, "route": {**route["route"], "request_mirror_policies": [policy]}}


def _divided(route: Json, what: Canary) -> tuple[Json, list[Json]]:
    """The route with its share to the version, and before it the one for the header."""
    action = {key: value for key, value in route["route"].items() if key != "cluster"}
    there = version_cluster(what.service, what.version)
    chosen: list[Json] = []
    if what.header:
        asks: Json = {"name": what.header, "present_match": True}
        if what.header_value:
            asks = {"name": what.header, "string_match": {"exact": what.header_value}}
        match = {**route["match"], "headers": [*route["match"].get("headers", ()), asks]}
        chosen = [{**route, "match": match, "route": {**action, "cluster": there}}]
    if not what.percent:
        return route, chosen
    weights = [
        {"name": what.service, "weight": 100 - what.percent},
        {"name": there, "weight": what.percent},
    ]
    return {**route, "route": {**action, "weighted_clusters": {"clusters": weights}}}, chosen
