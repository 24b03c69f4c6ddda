"""What an Envoy has loaded, read from its admin interface: versions, and each endpoint as it is used just now."""

from __future__ import annotations

from typing import Any

import msgspec

HEALTHY, EJECTED, UNHEALTHY = "healthy", "ejected", "unhealthy"


class LoadedEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint of a cluster. `state` is `healthy`, `ejected` (outlier detection) or `unhealthy` (a health check)."""

    address: str
    state: str
    weight: int
    requests: int
    active: int
    errors: int
    connections: int


class LoadedVersions(msgspec.Struct, frozen=True):
    """The version that each cluster and each route configuration was taken from, by name."""

    clusters: dict[str, str] = {}
    routes: dict[str, str] = {}


class _Socket(msgspec.Struct):
    address: str = ""
    port_value: int = 0


class _Address(msgspec.Struct):
    socket_address: _Socket = msgspec.field(default_factory=_Socket)


class _Stat(msgspec.Struct):
    name: str = ""
    value: str | int = 0


class _Health(msgspec.Struct):
    failed_outlier_check: bool = False
    failed_active_health_check: bool = False
    eds_health_status: str = "HEALTHY"


class _Host(msgspec.Struct):
    address: _Address = msgspec.field(default_factory=_Address)
    stats: list[_Stat] = []
    health_status: _Health = msgspec.field(default_factory=_Health)
    weight: int = 1


class _Cluster(msgspec.Struct):
    name: str = ""
    host_statuses: list[_Host] = []


class _Clusters(msgspec.Struct):
    cluster_statuses: list[_Cluster] = []


class _Named(msgspec.Struct):
    name: str = ""


class _Config(msgspec.Struct):
    version_info: str = ""
    cluster: _Named = msgspec.field(default_factory=_Named)
    route_config: _Named = msgspec.field(default_factory=_Named)


class _Dump(msgspec.Struct):
    configs: list[_Config] = []


def endpoints_in(clusters_json: str) -> dict[str, tuple[LoadedEndpoint, ...]]:
    """The answer of `/clusters?format=json`, by cluster.

    Raises:
        msgspec.MsgspecError: it is something else.
    """
    found = msgspec.json.decode(clusters_json, type=_Clusters)
    return {cluster.name: tuple(map(_endpoint, cluster.host_statuses)) for cluster in found.cluster_statuses}


def versions_in(clusters_dump: str, routes_dump: str) -> LoadedVersions:
    """The answers of `/config_dump` for dynamic clusters and dynamic routes.

    Raises:
        msgspec.MsgspecError: it is something else.
    """
    clusters = msgspec.json.decode(clusters_dump or b"{}", type=_Dump).configs
    routes = msgspec.json.decode(routes_dump or b"{}", type=_Dump).configs
    return LoadedVersions(
        {each.cluster.name: each.version_info for each in clusters},
        {each.route_config.name: each.version_info for each in routes},
    )


def _endpoint(host: _Host) -> LoadedEndpoint:
    stats: dict[str, Any] = {stat.name: int(stat.value) for stat in host.stats}
    health, at = host.health_status, host.address.socket_address
    state = HEALTHY
    if health.failed_outlier_check:
        state = EJECTED
    elif health.failed_active_health_check or health.eds_health_status not in ("HEALTHY", "UNKNOWN"):
        state = UNHEALTHY
    return LoadedEndpoint(
        address=f"{at.address}:{at.port_value}",
        state=state,
        weight=host.weight,
        requests=stats.get("rq_total", 0),
        active=stats.get("rq_active", 0),
        errors=stats.get("rq_error", 0),
        connections=stats.get("cx_active", 0),
    )
