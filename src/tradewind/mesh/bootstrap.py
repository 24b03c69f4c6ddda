"""Envoy's bootstrap: two static listeners, the way to the control plane, and nothing that ever has to change.

Routes, clusters, endpoints, limits and policies come later over xDS, so that no listener is ever updated (which would
drain its streams). An Envoy that starts without a control plane waits instead of answering 404 to everything.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import msgspec

from tradewind.mesh.clusters import HTTP_OPTIONS, XDS_CLUSTER, fixed_cluster
from tradewind.mesh.edge_tls import hsts_filter, transport_socket
from tradewind.mesh.envoy_json import Json, control_plane_source, duration, extension, set_header, socket_address
from tradewind.mesh.listeners import (
    OTLP_CLUSTER,
    ListenerSettings,
    edge_manager,
    egress_manager,
    refused_connections_log,
)
from tradewind.mesh.policy.defaults import DEFAULT
from tradewind.mesh.route_config import EDGE, EGRESS
from tradewind.mesh.tls_sockets import SecretFiles, from_rooms

GATEWAY_SERVICE = "gateway-service"
EDGE_TLS = "edge-tls"
MAX_CONNECTIONS = 10_000
MAX_REGEX_SIZE = 4_000
HEAP_MONITOR = "envoy.resource_monitors.fixed_heap"
TLS_HANDSHAKE_S = 10.0


class BootstrapSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What one Envoy is started with. Addresses are where it listens, or where it finds the control plane.

    `gateway_host:gateway_port` is the gateway service's public HTTP (keys, documentation), `control_port` its registry
    and xDS on the same host. `node_id` must differ between Envoys of one control plane. `otlp_endpoint` is the base URL of an OTLP/HTTP receiver, empty for none.
    """

    edge_port: int
    egress_port: int
    admin_port: int
    gateway_port: int
    control_port: int
    edge_host: str = "0.0.0.0"
    egress_host: str = "127.0.0.1"
    admin_host: str = "127.0.0.1"
    gateway_host: str = "127.0.0.1"
    node_id: str = "envoy"
    access_log: str = "/dev/stdout"
    otlp_endpoint: str = ""
    trace_ratio: float = 0.01
    xds_token: str = ""
    """What the control plane knows this proxy by; see `identity.proxy_token`."""
    secret_files: SecretFiles | None = None
    """Certificate and roots of the mesh; None without mutual TLS."""
    heap_mb: int = 1024
    """Memory past which it sheds load: from 85 % it gives back what it can, at 95 % it answers 503 to new requests."""
    trusted_proxies: int = 0
    """How many proxies of our own stand before the edge and append to `X-Forwarded-For`."""
    shared_limits: bool = False
    """Whether the control plane is asked for the limits that gateways share."""
    tls_port: int = 0
    """A second door to the same edge, which speaks TLS; 0: none."""
    tls_secret_file: str = ""
    hsts_max_age_s: int = 0


def bootstrap_config(settings: BootstrapSettings) -> dict[str, Any]:
    """The bootstrap as JSON; `envoy --config-path` takes it from a file.

    Raises:
        ValueError: the OTLP endpoint is not an http URL.
    """
    listeners = ListenerSettings(
        access_log=settings.access_log,
        otlp_endpoint=settings.otlp_endpoint.rstrip("/"),
        trace_ratio=settings.trace_ratio,
        trusted_proxies=settings.trusted_proxies,
        jwks_cluster=GATEWAY_SERVICE,
        limits_cluster=XDS_CLUSTER if settings.shared_limits else "",
        identified=settings.secret_files is not None,
    )
    source = control_plane_source(XDS_CLUSTER)
    return {
        "node": {"id": settings.node_id, "cluster": "tradewind"},
        "admin": {"address": socket_address(settings.admin_host, settings.admin_port)},
        "static_resources": {
            "listeners": [
                _listener(EDGE, settings.edge_host, settings.edge_port, edge_manager(listeners, source)),
                *([_tls_listener(settings, listeners, source)] if settings.tls_port else []),
                _egress(settings, egress_manager(listeners, source)),
            ],
            "clusters": [
                _control_plane(settings),
                fixed_cluster(GATEWAY_SERVICE, (settings.gateway_host, settings.gateway_port), DEFAULT),
                fixed_cluster(OTLP_CLUSTER, _otlp_address(settings.otlp_endpoint), DEFAULT),
            ],
        },
        "dynamic_resources": {"cds_config": source},
        # A path of 512 characters is within what a service may declare; Envoy's own bound refuses one of 100, and with it all.
        "layered_runtime": {
            "layers": [{"name": "static", "static_layer": {"re2.max_program_size.error_level": MAX_REGEX_SIZE}}]
        },
        "overload_manager": {
            "resource_monitors": [
                extension(
                    "envoy.resource_monitors.global_downstream_max_connections",
                    "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                    max_active_downstream_connections=MAX_CONNECTIONS,
                ),
                extension(
                    HEAP_MONITOR,
                    "envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
                    max_heap_size_bytes=settings.heap_mb * 1024 * 1024,
                ),
            ],
            "actions": [
                _when_heap_reaches(0.85, "envoy.overload_actions.shrink_heap"),
                _when_heap_reaches(0.90, "envoy.overload_actions.disable_http_keepalive"),
                _when_heap_reaches(0.95, "envoy.overload_actions.stop_accepting_requests"),
            ],
        },
        "application_log_config": {
            "log_format": {
                "json_format": {
                    "ts": "%Y-%m-%dT%T.%eZ",
                    "level": "%l",
                    "service": "envoy",
                    "instance": settings.node_id,
                    "logger": "%n",
                    "event": "%j",
                }
            }
        },
    }


def envoy_command(envoy: str, config_path: str, *, concurrency: int, exports_spans: bool = True) -> list[str]:
    """How Envoy is started. Unknown fields are refused: they would otherwise empty a cluster without a word.

    `exports_spans`: there is an OTLP endpoint. Without one Envoy's spans go nowhere on purpose, and it need not complain.
    """
    return [
        envoy,
        "--config-path", config_path,
        "--concurrency", str(concurrency),
        "--reject-unknown-dynamic-fields",
        "--disable-hot-restart",
        "--drain-time-s", "5",
        "--log-level", "warning",
        # Every start begins with a few seconds without keys, and the gateway says so itself.
        "--component-log-level", "jwt:error" if exports_spans else "jwt:error,tracing:off",
        "--file-flush-interval-msec", "1000",
    ]  # fmt: skip


def _when_heap_reaches(share: float, action: str) -> Json:
    return {"name": action, "triggers": [{"name": HEAP_MONITOR, "threshold": {"value": share}}]}


def _listener(name: str, host: str, port: int, manager: Json) -> Json:
    return {
        "name": name,
        "address": socket_address(host, port),
        "per_connection_buffer_limit_bytes": 256 * 1024,
        "filter_chains": [{"filters": [manager]}],
    }


def _tls_listener(settings: BootstrapSettings, listeners: ListenerSettings, source: Json) -> Json:
    first = [hsts_filter(settings.hsts_max_age_s)] if settings.hsts_max_age_s else []
    listener = _listener(EDGE_TLS, settings.edge_host, settings.tls_port, edge_manager(listeners, source, first))
    listener["filter_chains"][0]["transport_socket"] = transport_socket(settings.tls_secret_file)
    # Who opens a connection and says nothing holds memory and a file descriptor for no longer than this.
    listener["filter_chains"][0]["transport_socket_connect_timeout"] = duration(TLS_HANDSHAKE_S)
    return listener


def _egress(settings: BootstrapSettings, manager: Json) -> Json:
    listener = _listener(EGRESS, settings.egress_host, settings.egress_port, manager)
    if settings.secret_files is not None:
        listener["filter_chains"][0]["transport_socket"] = from_rooms(settings.secret_files)
        listener["access_log"] = [refused_connections_log(settings.access_log)]
    return listener


def _control_plane(settings: BootstrapSettings) -> Json:
    """The cluster of the control plane; each request to it carries the proxy's token."""
    cluster = fixed_cluster(XDS_CLUSTER, (settings.gateway_host, settings.control_port), DEFAULT)
    cluster["typed_extension_protocol_options"][HTTP_OPTIONS]["http_filters"] = [
        extension(
            "envoy.filters.http.header_mutation",
            "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
            mutations={"request_mutations": [{"append": set_header("authorization", f"Bearer {settings.xds_token}")}]},
        ),
        extension("envoy.filters.http.upstream_codec", "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"),
    ]
    return cluster


def _otlp_address(endpoint: str) -> tuple[str, int] | None:
    if not endpoint:
        return None
    parts = urlsplit(endpoint)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"the OTLP endpoint is an http:// URL, not {endpoint!r}")
    return parts.hostname, parts.port or 80
