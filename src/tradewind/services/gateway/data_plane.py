"""What the data plane has loaded, beside what the control plane wants of it. For the control port only."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from tradewind.mesh.description import Instance
from tradewind.mesh.envoy_admin import EnvoyAway
from tradewind.mesh.envoy_binary import EnvoyMissing, find_envoy
from tradewind.mesh.envoy_json import Json
from tradewind.mesh.loaded import LoadedEndpoint, LoadedVersions
from tradewind.mesh.route_config import EDGE, EGRESS
from tradewind.mesh.routes import Target
from tradewind.mesh.static_config import refusal, static_config
from tradewind.mesh.xds import KINDS, Kind, Standing
from tradewind.services.gateway.interventions import require_operator
from tradewind.services.gateway.parts import Parts

NOT_LOADED, LEAVING = "not loaded", "leaving"


async def data_plane(parts: Parts) -> dict[str, Any]:
    """Clusters, routes and subscriptions: wanted, loaded, refused and why. `reachable` is false while Envoy's admin is away."""
    try:
        endpoints, versions = await parts.envoy.endpoints(), await parts.envoy.versions()
        stats = (await parts.envoy.stats()).clusters()
        reachable = True
    except EnvoyAway:
        endpoints, versions, stats, reachable = {}, LoadedVersions(), {}, False
    await explain_refusals(parts)
    standings = parts.xds.standings()
    wanted = parts.registry.services()
    return {
        "reachable": reachable,
        "refused": [standing for standing in standings if standing.connected and standing.refused],
        "clusters": [
            {
                "service": name,
                "balancing": parts.policies.table.service(name).balancing,
                **_versions(parts, "clusters", versions.clusters.get(name, ""), standings),
                "endpoints": _endpoints(wanted[name].instances if name in wanted else (), endpoints.get(name, ())),
                "figures": stats.get(name, {}),
            }
            for name in sorted(wanted)
        ],
        "route_configurations": [
            {"name": name, **_versions(parts, "routes", versions.routes.get(name, ""), standings, (name,))}
            for name in (EDGE, EGRESS)
        ],
        "routes": [
            {
                **route,
                "demands": target.policy.demands,
                "retried": "always" if route["method"] == "GET" else "keyed" if route["idempotent"] else "unsent",
            }
            for target, route in described_routes(parts)
        ],
    }


def described_routes(parts: Parts) -> Iterator[tuple[Target, dict[str, Any]]]:
    """The operations that the public reaches, each with what is told of it."""
    for path in parts.control_plane.table.paths:
        for method, target in path.targets.items():
            route = target.route
            yield (
                target,
                {
                    "method": method,
                    "path": target.template,
                    "service": target.service,
                    "access": route.access,
                    "roles": route.roles,
                    "rate": route.rate,
                    "timeout_s": route.timeout_s,
                    "idempotent": route.idempotent,
                    "stream": route.stream,
                    "websocket": route.websocket,
                    "max_body_bytes": route.max_body_bytes,
                },
            )


async def published_resources(parts: Parts, token: str) -> dict[Kind, dict[str, Json]]:
    """What every Envoy is told just now, by kind and name.

    Raises:
        Unauthenticated, Forbidden: the token is no administrator's.
    """
    await require_operator(parts.operators, token)
    return {kind: parts.xds.resources(kind) for kind in KINDS}


async def explain_refusals(parts: Parts) -> None:
    """Find out why a version was refused where Envoy's log is not ours to read: the program judges the same content."""
    unexplained = [each for each in parts.xds.standings() if each.connected and each.refused and not each.reason]
    if not unexplained:
        return
    resources = {kind: parts.xds.resources(kind) for kind in KINDS}
    config = static_config(parts.bootstrap, resources)
    try:
        reason = await asyncio.to_thread(refusal, find_envoy(parts.envoy_binary), config)
    except (EnvoyMissing, OSError) as exc:
        reason = f"unknown: {exc}"
    for standing in unexplained:
        parts.xds.explain(standing, reason or "unknown: envoy itself would take it")


def _versions(
    parts: Parts, kind: Kind, loaded: str, standings: Sequence[Standing], names: tuple[str, ...] = ()
) -> dict[str, Any]:
    """`changed_in` is the version that brought what is loaded now: a later one that changed others leaves it as it was."""
    connected = [each for each in standings if each.kind == kind and each.names == names and each.connected]
    refused = [each for each in connected if each.refused]
    return {
        "wanted": parts.xds.version(kind, names),
        "loaded": connected[0].accepted if connected and loaded else loaded,
        "changed_in": loaded,
        "refused": bool(refused),
        "reason": refused[0].reason if refused else "",
    }


def _endpoints(instances: Sequence[Instance], loaded: Sequence[LoadedEndpoint]) -> list[Mapping[str, Any]]:
    by_address = {endpoint.address: endpoint for endpoint in loaded}
    rows: list[Mapping[str, Any]] = []
    for instance in instances:
        address = f"{instance.address}:{instance.port}"
        endpoint = by_address.pop(address, None)
        if endpoint is None:
            rows.append({"instance": instance.instance, "address": address, "state": NOT_LOADED})
        else:
            rows.append({"instance": instance.instance, **msgspec.structs.asdict(endpoint)})
    gone = ({**msgspec.structs.asdict(endpoint), "instance": "", "state": LEAVING} for endpoint in by_address.values())
    return [*rows, *gone]
