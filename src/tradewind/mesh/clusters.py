"""Clusters (one a service) and their endpoints (one an instance), as Envoy wants them."""

from __future__ import annotations

from collections.abc import Iterable

from tradewind.mesh.description import Instance
from tradewind.mesh.discovery import NamedEndpoint
from tradewind.mesh.envoy_json import Json, any_of, control_plane_source, duration, extension, socket_address
from tradewind.mesh.policy import ServicePolicy
from tradewind.mesh.tls_sockets import SecretFiles, to_room

XDS_CLUSTER = "control-plane"
DNS_REFRESH_S = 5.0
"""How often a name is asked for that has no TTL."""
DNS_RETRY_S = 0.5
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_BALANCING = {"least-request": "LEAST_REQUEST", "round-robin": "ROUND_ROBIN", "ring-hash": "RING_HASH"}


def service_cluster(service: str, policy: ServicePolicy, secret_files: SecretFiles | None = None) -> Json:
    """The dynamic cluster of `service`; its endpoints come separately, so that they change without rebuilding it.

    With `secret_files` it is spoken to in mutual TLS.
    """
    return any_of(
        "envoy.config.cluster.v3.Cluster",
        name=service,
        type="EDS",
        eds_cluster_config={"eds_config": control_plane_source(XDS_CLUSTER)},
        ignore_health_on_host_removal=True,
        **_identified(service, secret_files),
        **protection(policy),
    )


def named_cluster(
    service: str, at: NamedEndpoint, policy: ServicePolicy, secret_files: SecretFiles | None = None
) -> Json:
    """The dynamic cluster of a service that Envoy finds in the DNS itself, asking again when the answer's TTL is over."""
    resolver = {
        "typed_dns_resolver_config": extension(
            "envoy.network.dns_resolver.cares",
            "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
            resolvers=[socket_address(*at.server)] if at.server else [],
            dns_resolver_options={"no_default_search_domain": True},
        )
    }
    return any_of(
        "envoy.config.cluster.v3.Cluster",
        name=service,
        type="STRICT_DNS",
        dns_lookup_family="V4_ONLY",
        respect_dns_ttl=True,
        dns_refresh_rate=duration(DNS_REFRESH_S),
        dns_failure_refresh_rate={
            "base_interval": duration(DNS_RETRY_S),
            "max_interval": duration(DNS_REFRESH_S),
        },
        load_assignment={"cluster_name": service, "endpoints": [{"lb_endpoints": [_endpoint(at.host, at.port)]}]},
        ignore_health_on_host_removal=True,
        **(resolver if at.server else {}),
        **_identified(service, secret_files),
        **protection(policy),
    )


def fixed_cluster(name: str, address: tuple[str, int] | None, policy: ServicePolicy) -> Json:
    """A cluster of one endpoint known from the start (none: every request to it fails at once)."""
    endpoints = [] if address is None else [_endpoint(*address)]
    return {
        "name": name,
        "type": "STRICT_DNS",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        **protection(policy),
    }


def endpoints(service: str, instances: Iterable[Instance]) -> Json:
    """The load assignment of `service`."""
    found = [_endpoint(instance.address, instance.port) for instance in instances]
    return any_of(
        "envoy.config.endpoint.v3.ClusterLoadAssignment",
        cluster_name=service,
        endpoints=[{"lb_endpoints": found}],
    )


def _identified(service: str, secret_files: SecretFiles | None) -> Json:
    room = service.removesuffix("-service")
    return {} if secret_files is None else {"transport_socket": to_room(secret_files, room)}


def _endpoint(address: str, port: int) -> Json:
    return {"endpoint": {"address": socket_address(address, port)}}


def protection(policy: ServicePolicy) -> Json:
    """What guards a cluster: balancing, time-outs, thresholds, the retry budget, ejection of dead instances."""
    retries, ejection, limits = policy.retries, policy.ejection, policy.limits
    return {
        "connect_timeout": duration(policy.connect_timeout_s),
        "lb_policy": _BALANCING[policy.balancing],
        # Panic mode would send requests to instances known to be dead.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": limits.connections,
                    "max_pending_requests": limits.pending,
                    "max_requests": limits.requests,
                    "retry_budget": {
                        "budget_percent": {"value": retries.budget_percent},
                        "min_retry_concurrency": retries.budget_least,
                    },
                }
            ]
        },
        "outlier_detection": {
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": ejection.failures,
            "enforcing_consecutive_local_origin_failure": 100,
            "enforcing_local_origin_success_rate": 0,
            "enforcing_consecutive_5xx": 0,
            "enforcing_consecutive_gateway_failure": 0,
            "enforcing_success_rate": 0,
            "interval": duration(ejection.check_every_s),
            "base_ejection_time": duration(ejection.base_s),
            "max_ejection_time": duration(ejection.longest_s),
            "max_ejection_percent": ejection.most_percent,
        },
        "typed_extension_protocol_options": {
            HTTP_OPTIONS: any_of(
                HTTP_OPTIONS,
                common_http_protocol_options={"idle_timeout": duration(policy.idle_connection_s)},
                explicit_http_config={"http_protocol_options": {}},
            )
        },
    }
