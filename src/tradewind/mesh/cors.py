"""Which web pages of other origins may call the edge. Envoy answers the preflights; nobody may until it is set."""

from __future__ import annotations

import re

import msgspec

from tradewind.mesh.envoy_json import Json, any_of, extension

FILTER = "envoy.filters.http.cors"
ANY = "*"
MAX_AGE_S = 600
METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
REQUEST_HEADERS = (
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, Traceparent, Tracestate"
)
RESPONSE_HEADERS = "ETag, Location, Retry-After, RateLimit, RateLimit-Policy, X-Request-Id, Idempotency-Replayed"

_ORIGIN = re.compile(r"https?://(?:\*\.)?[a-z0-9-]+(?:\.[a-z0-9-]+)*(?::\d{1,5})?")
_ASKS = "access-control-request-method"
_LABELS = r"[a-z0-9-]+(\.[a-z0-9-]+)*"


class OriginError(ValueError):
    """Something that is no origin, or credentials for origins that are not named one by one."""


class Cors(msgspec.Struct, frozen=True, kw_only=True):
    """Origins (`https://shop.test`), patterns of them (`https://*.shop.test`: any subdomain) or `*`, and whether their pages
    may send cookies and client certificates along. Bearer tokens need no such credentials.
    """

    origins: tuple[str, ...] = ()
    credentials: bool = False

    @classmethod
    def of(cls, origins: str, *, credentials: bool) -> Cors:
        """Read a list parted by commas.

        Raises:
            OriginError: names what is wrong.
        """
        found = tuple(origin.strip().lower() for origin in origins.split(",") if origin.strip())
        for origin in found:
            if origin != ANY and not _ORIGIN.fullmatch(origin):
                raise OriginError(f"{origin!r} is no origin: https://shop.test, https://*.shop.test, or * for all")
            if credentials and ANY in origin:
                raise OriginError(f"credentials only for origins named one by one, not for {origin!r}")
        return cls(origins=found, credentials=credentials)


def cors_filter() -> Json:
    """The HTTP filter; it does nothing where no policy holds."""
    return extension(FILTER, "envoy.extensions.filters.http.cors.v3.Cors")


def with_cors(routes: Json, cors: Cors, nowhere: str) -> Json:
    """A route configuration in which `cors` holds for every route.

    Envoy's filter answers a preflight only on a route that leads somewhere; `nowhere` is a cluster that never gets one.
    """
    if not cors.origins:
        return routes
    policy = any_of(
        "envoy.extensions.filters.http.cors.v3.CorsPolicy",
        allow_origin_string_match=[_match(origin) for origin in cors.origins],
        allow_methods=METHODS,
        allow_headers=REQUEST_HEADERS,
        expose_headers=RESPONSE_HEADERS,
        max_age=str(MAX_AGE_S),
        allow_credentials=cors.credentials,
        forward_not_matching_preflights=False,
    )
    return {**routes, "virtual_hosts": [_host(host, policy, nowhere) for host in routes["virtual_hosts"]]}


def _host(host: Json, policy: Json, nowhere: str) -> Json:
    filters = {**host.get("typed_per_filter_config", {}), FILTER: policy}
    if "matcher" not in host:
        return {**host, "typed_per_filter_config": filters}
    preflight = extension(
        "preflight",
        "envoy.config.route.v3.RouteList",
        routes=[{"name": "preflight", "match": {"prefix": "/"}, "route": {"cluster": nowhere}}],
    )
    asked = [_header_is(":method", "OPTIONS"), _header_is("origin", ".+"), _header_is(_ASKS, ".+")]
    matcher = {
        "matcher_list": {
            "matchers": [{"predicate": {"and_matcher": {"predicate": asked}}, "on_match": {"action": preflight}}]
        },
        "on_no_match": {"matcher": host["matcher"]},
    }
    return {**host, "typed_per_filter_config": filters, "matcher": matcher}


def _header_is(name: str, regex: str) -> Json:
    return {
        "single_predicate": {
            "input": extension(name, "envoy.type.matcher.v3.HttpRequestHeaderMatchInput", header_name=name),
            "value_match": {"safe_regex": {"google_re2": {}, "regex": regex}},
        }
    }


def _match(origin: str) -> Json:
    if origin == ANY:
        return {"safe_regex": {"regex": ".*"}}
    if ANY not in origin:
        return {"exact": origin}
    scheme, _, host = origin.partition("*.")
    return {"safe_regex": {"regex": f"{re.escape(scheme)}{_LABELS}\\.{re.escape(host)}"}}
