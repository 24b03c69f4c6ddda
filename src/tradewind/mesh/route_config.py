"""The two route configurations: `edge`, what the public may call, and `egress`, how services reach each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tradewind.mesh import demands, rate_limits, rbac, shared_limits, stickiness
from tradewind.mesh.compression import uncompressed
from tradewind.mesh.description import Method
from tradewind.mesh.discovery import KnownService
from tradewind.mesh.envoy_json import Json, any_of, duration, extension, method_is, set_header
from tradewind.mesh.policy import RateLimits, RoutePolicy, ServicePolicy
from tradewind.mesh.policy.table import PolicyTable
from tradewind.mesh.routes import Path, PathPattern, RouteTable, Target

EDGE = "edge"
EGRESS = "egress"

JWT_FILTER = "envoy.filters.http.jwt_authn"
BUFFER_FILTER = "envoy.filters.http.buffer"
TOKEN_REQUIRED = "token-required"  # noqa: S105 - the name of a requirement, not a token
TOKEN_OPTIONAL = "token-optional"  # noqa: S105
CALLER_HEADER = "x-tradewind-caller"
"""Who calls in the mesh, from the certificate that the caller showed; nobody else can set it."""
RETRY_ELSEWHERE_HEADER = "x-tradewind-retry"
SAFE_METHODS = ("GET", "HEAD")
LEAST_IDLE_S = 60.0

RETRIED = "connect-failure,refused-stream,reset,retriable-headers"
RETRIED_ONCE_ONLY = "connect-failure,refused-stream"
"""When what may not be repeated is sent again all the same: it certainly never arrived."""

_CATCH_ALL = {"prefix": "/"}
_NO_ROW = RoutePolicy()
_KEYED = {"name": "idempotency-key", "present_match": True}
_JWT_ROUTE = "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig"
_BUFFER_ROUTE = "envoy.extensions.filters.http.buffer.v3.BufferPerRoute"


def edge_routes(table: RouteTable, limits: RateLimits, policies: PolicyTable) -> Json:
    """The public routes. What is not in the table is 404; what is, with another method, is 405.

    Envoy finds the group of a path by its first two segments and searches only that group's list.
    """
    groups = sorted({path.pattern.group for path in table.paths} - {"/"})
    rest = _route_list((path for path in table.paths if path.pattern.group == "/"), limits, policies)
    host: Json = {
        "name": EDGE,
        "domains": ["*"],
        "typed_per_filter_config": {
            JWT_FILTER: any_of(_JWT_ROUTE, requirement_name=TOKEN_REQUIRED),
            rate_limits.FILTER: rate_limits.limiter(limits),
        },
        "request_headers_to_add": [set_header("x-forwarded-for", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%")],
        "request_headers_to_remove": [
            rate_limits.SUBJECT_HEADER,
            rate_limits.ADDRESS_HEADER,
            "x-envoy-external-address",
        ],
        "response_headers_to_remove": [RETRY_ELSEWHERE_HEADER],
    }
    if groups:
        host["matcher"] = {
            "matcher_tree": {
                "input": extension("path", "envoy.type.matcher.v3.HttpRequestHeaderMatchInput", header_name=":path"),
                "prefix_match_map": {
                    "map": {
                        group: _route_list(
                            (path for path in table.paths if group.startswith(path.pattern.group)), limits, policies
                        )
                        for group in groups
                    }
                },
            },
            "on_no_match": rest,
        }
    else:
        host["routes"] = [_refusal(404)]
    return any_of("envoy.config.route.v3.RouteConfiguration", name=EDGE, virtual_hosts=[host])


def egress_routes(
    services: Mapping[str, KnownService], policies: PolicyTable, also: Iterable[str] = (), *, identified: bool = False
) -> Json:
    """Routes between services: the host names the service, and the path is the service's own business.

    `also` are services with a cluster of their own making, such as the gateway. Where callers are `identified`, only
    those that the policy names may call a service.
    """
    hosts: list[Json] = [
        {
            "name": name,
            "domains": [name],
            "routes": _mesh_routes(name, policies.service(name), services.get(name)),
            "response_headers_to_remove": [RETRY_ELSEWHERE_HEADER],
        }
        for name in sorted({*services, *also})
    ]
    hosts.append({"name": "unknown", "domains": ["*"], "routes": [_refusal(404)]})
    callers: Json = {}
    if identified:
        permitted = list(policies.permitted_calls())
        for host in hosts:
            host["typed_per_filter_config"] = {
                rbac.FILTER: rbac.not_asked()
                if host["name"] == "unknown"
                else rbac.permitted_only(call for call in permitted if call.service == host["name"])
            }
        callers = {"request_headers_to_add": [set_header(CALLER_HEADER, "%DOWNSTREAM_PEER_URI_SAN%")]}
    return any_of(
        "envoy.config.route.v3.RouteConfiguration",
        name=EGRESS,
        virtual_hosts=hosts,
        ignore_port_in_host_matching=True,
        **callers,
    )


def _route_list(paths: Iterable[Path], limits: RateLimits, policies: PolicyTable) -> Json:
    routes = [route for path in paths for route in _edge_path(path, limits, policies)]
    return {"action": extension("routes", "envoy.config.route.v3.RouteList", routes=[*routes, _refusal(404)])}


def _edge_path(path: Path, limits: RateLimits, policies: PolicyTable) -> Iterable[Json]:
    match = _path_match(path.pattern)
    for method, target in path.targets.items():
        policy, row = policies.service(target.service), target.policy
        sticky = policy.balancing == "ring-hash"
        timeout_s = 0.0 if target.route.endless else target.route.timeout_s + policy.edge_grace_s
        base = {
            "name": f"{method} {target.template}",
            "metadata": rate_limits.route_metadata(target.route.rate),
            "decorator": {"operation": f"{method} {target.template}", "propagate": False},
            "typed_per_filter_config": _edge_filters(target, limits, sticky=sticky),
        }
        for headers, repeatable in _splits(method, target.route.idempotent):
            try_s = row.try_timeout_s or timeout_s * policy.retries.try_share
            action = _forward(target.service, policy, timeout_s, min(try_s, timeout_s), repeatable, row)
            if sticky:
                action["hash_policy"] = stickiness.hash_policy()
            if target.route.websocket and method == "GET":
                action["upgrade_configs"] = [{"upgrade_type": "websocket"}]
            yield {**base, "match": {**match, "headers": headers}, "route": action}
    yield {**_refusal(405), "match": match, "response_headers_to_add": [set_header("allow", path.allow)]}


def _splits(method: Method, idempotent: bool) -> Iterable[tuple[list[Json], bool]]:
    """How requests of a method are told apart, and whether each kind may be repeated.

    A key makes a request repeatable only where the operation keeps keys; elsewhere it means nothing.
    """
    if method == "GET":
        yield [method_is(*SAFE_METHODS)], True
        return
    if idempotent:
        yield [method_is(method), _KEYED], True
    yield [method_is(method)], False


def _edge_filters(target: Target, limits: RateLimits, *, sticky: bool) -> Json:
    filters: Json = {}
    if target.route.access == "public":
        # Disabled, not optional: a stale token sent along must not stop somebody from logging in.
        filters[JWT_FILTER] = any_of(_JWT_ROUTE, disabled=True)
    elif target.route.access == "optional":
        filters[JWT_FILTER] = any_of(_JWT_ROUTE, requirement_name=TOKEN_OPTIONAL)
    if target.route.rate != "none":
        filters[rate_limits.TELLER_FILTER] = rate_limits.told_to_clients(target.route.rate, limits)
    if sticky:
        filters[stickiness.FILTER] = stickiness.turned_on()
    if target.policy.demands:
        filters[demands.FILTER] = demands.rule(target.policy.demands)
    if target.route.rate == rate_limits.SHARED_CLASS and limits.shared:
        filters[shared_limits.FILTER] = shared_limits.asked_for()
    if not target.route.endless:
        # A body is read whole before a service sees it: a slow sender holds Envoy's memory, not a worker, and the
        # request can be sent again. The field cannot be 0, which for Envoy would mean unset.
        buffer = {"max_request_bytes": max(1, target.route.max_body_bytes)}
        filters[BUFFER_FILTER] = any_of(_BUFFER_ROUTE, buffer=buffer)
    if target.route.endless or target.route.rate == "auth":
        # What is compressed together with a secret gives it away by its length.
        filters |= uncompressed()
    return filters


def _path_match(pattern: PathPattern) -> Json:
    return {"path": pattern.text} if pattern.literal else {"safe_regex": {"regex": pattern.regex}}


def _refusal(status: int) -> Json:
    return {
        "match": _CATCH_ALL,
        "direct_response": {"status": status},
        "typed_per_filter_config": {JWT_FILTER: any_of(_JWT_ROUTE, disabled=True)},
    }


def _mesh_routes(service: str, policy: ServicePolicy, known: KnownService | None) -> list[Json]:
    routes = []
    for declared in known.routes if known else ():
        if declared.endless or declared.timeout_s > policy.mesh_timeout_s:
            timeout_s = 0.0 if declared.endless else declared.timeout_s + policy.edge_grace_s
            match = {**_path_match(PathPattern.of(declared.path)), "headers": [method_is(*declared.methods)]}
            routes.append({"match": match, "route": _forward(service, policy, timeout_s, 0.0, repeatable=False)})
    kinds: tuple[tuple[list[Json], bool], ...] = (([method_is(*SAFE_METHODS)], True), ([_KEYED], True), ([], False))
    for headers, repeatable in kinds:
        action = _forward(service, policy, policy.mesh_timeout_s, policy.mesh_try_s, repeatable)
        routes.append({"match": {**_CATCH_ALL, "headers": headers}, "route": action})
    return routes


def _forward(
    service: str,
    policy: ServicePolicy,
    timeout_s: float,
    try_s: float,
    repeatable: bool,
    row: RoutePolicy = _NO_ROW,
) -> Json:
    retries = policy.retries
    retry_policy: Json = {
        "retry_on": RETRIED if repeatable else RETRIED_ONCE_ONLY,
        "num_retries": retries.most if row.retries is None else row.retries,
        "retry_back_off": {
            "base_interval": duration(retries.first_pause_s),
            "max_interval": duration(retries.longest_pause_s),
        },
        "retry_host_predicate": [
            extension(
                "envoy.retry_host_predicates.previous_hosts",
                "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
            )
        ],
        "host_selection_retry_max_attempts": retries.elsewhere_attempts,
    }
    if repeatable:
        retry_policy["retriable_headers"] = [{"name": RETRY_ELSEWHERE_HEADER, "string_match": {"exact": "elsewhere"}}]
        if try_s:
            retry_policy["per_try_timeout"] = duration(try_s)
    return {
        "cluster": service,
        "timeout": duration(timeout_s),
        # A stream may be silent for as long as it likes; anything else, as long as it may last.
        "idle_timeout": duration(timeout_s and max(timeout_s, LEAST_IDLE_S)),
        "retry_policy": retry_policy,
    }
