"""The HTTP connection managers of the two listeners: what every request passes before it finds a route."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tradewind.mesh import demands, rate_limits, rbac, shared_limits, stickiness
from tradewind.mesh.compression import compressors
from tradewind.mesh.cors import cors_filter
from tradewind.mesh.description import DEFAULT_BODY_BYTES
from tradewind.mesh.envoy_json import Json, any_of, extension
from tradewind.mesh.intervention_filters import TOKEN_LOOKED_AT, intervention_filters
from tradewind.mesh.replies import local_replies
from tradewind.mesh.route_config import (
    BUFFER_FILTER,
    CALLER_HEADER,
    EDGE,
    EGRESS,
    JWT_FILTER,
    TOKEN_OPTIONAL,
    TOKEN_REQUIRED,
)

OTLP_CLUSTER = "otlp"
SERVER_NAME = "tradewind"
ISSUER = AUDIENCE = "tradewind"
JWKS_PATH = "/.well-known/jwks.json"
JWKS_REFRESH_S = 10
TOKEN_CACHE = 10_000
CLOCK_SKEW_S = 5
MAX_HEADERS = 100
MAX_HEADERS_KIB = 32

OURS_TO_SET = ("x-user-", "x-caller", "x-tradewind-", "x-envoy-", "x-request-id", "x-real-ip")
"""Prefixes of headers that nobody outside may set: identities, ids, instructions to proxies."""
FORWARDED = ("x-forwarded-",)
FORWARDED_BY_STRANGERS = tuple(
    f"x-forwarded-{name}" for name in ("client-cert", "host", "port", "prefix", "user", "email")
)
"""What of it is still not believed behind proxies of our own, which add only `-for` and `-proto`."""

EGRESS_STRIPS = ["x-envoy-", CALLER_HEADER, "x-forwarded-client-cert"]

_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"

STANDARD_OUTPUT = "/dev/stdout"


class ListenerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between installations; see `BootstrapSettings`."""

    access_log: str
    otlp_endpoint: str
    trace_ratio: float
    trusted_proxies: int
    jwks_cluster: str
    limits_cluster: str = ""
    """The control plane, where limits are shared between gateways."""
    identified: bool = False
    """Whether callers in the mesh show certificates."""


def edge_manager(settings: ListenerSettings, routes_from: Json, first: Sequence[Json] = ()) -> Json:
    """The public door: strips, authenticates, limits, logs, then routes. `first` are filters before all others."""
    stripped = [*OURS_TO_SET, *(FORWARDED_BY_STRANGERS if settings.trusted_proxies else FORWARDED)]
    return _manager(
        EDGE,
        settings,
        routes_from,
        stripped,
        filters=[
            *first,
            cors_filter(),
            *compressors(),
            extension(rate_limits.TELLER_FILTER, rate_limits.TELLER_TYPE),
            _jwt_filter(settings.jwks_cluster),
            extension(rate_limits.FILTER, rate_limits.FILTER_TYPE, stat_prefix="edge_rate_limit"),
            *intervention_filters(),
            # Without rules it lets everything pass; routes bring their own. Behind the limiter: refusals count, too.
            extension(demands.FILTER, demands.FILTER_TYPE),
            stickiness.subject_filter(),
            {
                # Off unless the route turns it on: what has no route (CONNECT) or streams must not be held back.
                **extension(
                    BUFFER_FILTER,
                    "envoy.extensions.filters.http.buffer.v3.Buffer",
                    max_request_bytes=DEFAULT_BODY_BYTES,
                ),
                "disabled": True,
            },
            # Behind the buffer: while Envoy waits for an answer it reads on up to the connection's limit, and a buffer that
            # starts with more than it may hold neither refuses nor reads on.
            *([shared_limits.asking_filter(settings.limits_cluster)] if settings.limits_cluster else []),
        ],
        use_remote_address=True,
        xff_num_trusted_hops=settings.trusted_proxies,
        skip_xff_append=True,
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        tracing=_tracing(settings),
        request_headers_timeout="10s",
        request_timeout="30s",
    )


def egress_manager(settings: ListenerSettings, routes_from: Json) -> Json:
    """The door for services: no token is looked at (every service verifies itself), the host says who is meant."""
    if not settings.identified:
        return _manager(EGRESS, settings, routes_from, EGRESS_STRIPS, filters=[], use_remote_address=False)
    return _manager(
        EGRESS,
        settings,
        routes_from,
        EGRESS_STRIPS,
        filters=[rbac.deny_all()],
        use_remote_address=False,
        forward_client_cert_details="SANITIZE_SET",
        set_current_client_cert_details={"uri": True},
        # What is decided by path must be decided on the path that the service will see.
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
    )


def _manager(
    name: str,
    settings: ListenerSettings,
    routes_from: Json,
    stripped: list[str],
    *,
    filters: list[Json],
    **options: object,
) -> Json:
    early = extension(
        "strip",
        "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
        mutations=[{"remove_on_match": {"key_matcher": {"prefix": prefix}}} for prefix in stripped],
    )
    return extension(
        "envoy.filters.network.http_connection_manager",
        _MANAGER,
        stat_prefix=name,
        rds={"route_config_name": name, "config_source": routes_from},
        early_header_mutation_extensions=[early],
        http_filters=[
            *filters,
            extension(
                "envoy.filters.http.router",
                "envoy.extensions.filters.http.router.v3.Router",
                suppress_envoy_headers=True,
            ),
        ],
        server_name=SERVER_NAME,
        always_set_request_id_in_response=True,
        # The sampling decision travels in the traceparent; an id is an id.
        request_id_extension={
            "typed_config": any_of(
                "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig",
                pack_trace_reason=False,
                use_request_id_for_trace_sampling=False,
            )
        },
        local_reply_config=local_replies(),
        access_log=[_access_log(name, settings.access_log)],
        max_request_headers_kb=MAX_HEADERS_KIB,
        common_http_protocol_options={
            "idle_timeout": "300s",
            "max_headers_count": MAX_HEADERS,
            # `x_user_id` would become `x-user-id` in some frameworks.
            "headers_with_underscores_action": "DROP_HEADER",
        },
        http2_protocol_options={
            "max_concurrent_streams": 100,
            "initial_stream_window_size": 64 * 1024,
            "initial_connection_window_size": 1024 * 1024,
        },
        stream_idle_timeout="60s",
        **options,
    )


def _jwt_filter(jwks_cluster: str) -> Json:
    """Verifies access tokens; routes say which requirement they have (see `route_config`).

    Keys are fetched in the background and kept when the fetch fails, so a token is verified without waiting for anyone.
    """
    provider = {
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "require_expiration": True,
        "forward": True,
        "clock_skew_seconds": CLOCK_SKEW_S,
        # Named, since by default Envoy also takes a token from `?access_token=`.
        "from_headers": [{"name": "Authorization", "value_prefix": "Bearer "}],
        "claim_to_headers": [{"claim_name": "sub", "header_name": rate_limits.SUBJECT_HEADER}],
        **demands.claims_to_metadata(),
        "jwt_cache_config": {"jwt_cache_size": TOKEN_CACHE},
        "remote_jwks": {
            "http_uri": {"uri": f"http://{jwks_cluster}{JWKS_PATH}", "cluster": jwks_cluster, "timeout": "1s"},
            "cache_duration": f"{JWKS_REFRESH_S}s",
            "async_fetch": {"fast_listener": True, "failed_refetch_duration": "0.500s"},
        },
    }
    access_token = {"provider_name": "access-token"}
    return extension(
        JWT_FILTER,
        "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        providers={
            "access-token": provider,
        },
        requirement_map={
            TOKEN_REQUIRED: access_token,
            TOKEN_OPTIONAL: {"requires_any": {"requirements": [access_token, {"allow_missing": {}}]}},
            TOKEN_LOOKED_AT: {"requires_any": {"requirements": [access_token, {"allow_missing_or_failed": {}}]}},
        },
    )


def _tracing(settings: ListenerSettings) -> Json:
    """Every request gets a W3C traceparent. A client's trace id is kept; whether to sample is decided here alone.

    Envoy insists on an exporter. Without an OTLP endpoint the spans go to a cluster without endpoints, that is nowhere.
    """
    ratio = {"numerator": round(settings.trace_ratio * 1_000_000), "denominator": "MILLION"}
    return {
        "spawn_upstream_span": False,
        "provider": extension(
            "envoy.tracers.opentelemetry",
            "envoy.config.trace.v3.OpenTelemetryConfig",
            service_name="edge",
            http_service={
                "http_uri": {
                    "uri": f"{settings.otlp_endpoint or 'http://nowhere'}/v1/traces",
                    "cluster": OTLP_CLUSTER,
                    "timeout": "2s",
                }
            },
            sampler=extension(
                "envoy.tracers.opentelemetry.samplers.trace_id_ratio_based",
                "envoy.extensions.tracers.opentelemetry.samplers.v3.TraceIdRatioBasedSamplerConfig",
                sampling_percentage=ratio,
            ),
        ),
    }


def _access_log(listener: str, path: str) -> Json:
    """One JSON line a request. Never the query, a header that could hold a secret, or a body."""
    line = {
        "ts": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
        "level": "info",
        "service": "envoy",
        "logger": f"access.{listener}",
        "event": "request",
        "method": "%REQUEST_HEADER(:METHOD)%",
        "path": "%PATH(NQ)%",
        "route": "%ROUTE_NAME%",
        "status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "reason": "%RESPONSE_CODE_DETAILS%",
        "received_bytes": "%BYTES_RECEIVED%",
        "sent_bytes": "%BYTES_SENT%",
        "duration_us": "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%",
        "upstream_us": "%COMMON_DURATION(US_TX_END:US_RX_BEG:us)%",
        "tries": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "upstream": "%UPSTREAM_HOST%",
        "upstream_failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
        "cluster": "%UPSTREAM_CLUSTER%",
        "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        "connection": "%CONNECTION_ID%",
        "agent": "%REQUEST_HEADER(USER-AGENT):200%",
        "request_id": "%REQUEST_HEADER(X-REQUEST-ID)%",
        "trace_id": "%TRACE_ID%",
    }
    if listener == EGRESS:
        del line["trace_id"]
        line["traceparent"] = "%REQUEST_HEADER(TRACEPARENT)%"
        line["caller"] = "%DOWNSTREAM_PEER_URI_SAN%"
    return _log_of(line, path)


def refused_connections_log(path: str) -> Json:
    """One JSON line for each connection to the egress that did not show a certificate of ours, with the cause."""
    line = {
        "ts": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
        "level": "warning",
        "service": "envoy",
        "logger": f"access.{EGRESS}",
        "event": "connection refused",
        "cause": "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%",
        "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        "connection": "%CONNECTION_ID%",
    }
    failed = extension(
        "cel",
        "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
        expression="has(connection.transport_failure_reason)",
    )
    return {**_log_of(line, path), "filter": {"extension_filter": failed}}


def _log_of(line: Json, path: str) -> Json:
    log_format = {"json_format": line, "omit_empty_values": True}
    if path == STANDARD_OUTPUT:
        # By its descriptor: opening the path anew is forbidden where somebody else made the pipe, as for a container's user.
        return extension(
            "envoy.access_loggers.stdout",
            "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
            log_format=log_format,
        )
    return extension(
        "envoy.access_loggers.file",
        "envoy.extensions.access_loggers.file.v3.FileAccessLog",
        path=path,
        log_format=log_format,
    )
