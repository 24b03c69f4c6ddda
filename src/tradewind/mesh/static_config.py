"""The dynamic configuration as one file: what the control plane would send, written into a bootstrap that needs no control plane.

To look at, and to ask Envoy itself (`--mode validate`) whether and why not it would take it.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tradewind.mesh.envoy_json import Json
from tradewind.mesh.xds import Kind

VALIDATE_S = 20.0
MAX_REASON_CHARS = 2_000

Resources = Mapping[Kind, Mapping[str, Json]]


def static_config(bootstrap: Json, resources: Resources) -> Json:
    """`bootstrap` with `resources` in it: clusters with their endpoints, and each listener's routes."""
    config: Json = msgspec.json.decode(msgspec.json.encode(bootstrap))
    config.pop("dynamic_resources", None)
    for listener in config["static_resources"]["listeners"]:
        for chain in listener["filter_chains"]:
            for each in chain["filters"]:
                _put_routes(each["typed_config"], resources["routes"])
    config["static_resources"]["clusters"] += [
        _with_endpoints(cluster, resources["endpoints"].get(name, {}))
        for name, cluster in resources["clusters"].items()
    ]
    return config


def responses(resources: Resources, versions: Mapping[Kind, str]) -> dict[str, Json]:
    """Each kind as the DiscoveryResponse that Envoy gets or reads from a file, by file name."""
    return {
        f"{kind}.json": {"version_info": versions[kind], "resources": list(resources[kind].values())}
        for kind in resources
    }


def refusal(envoy: str, config: Json) -> str:
    """Why the program `envoy` refuses `config`; empty when it does not. Blocks for up to 20 s.

    Raises:
        OSError: it cannot be run.
    """
    with tempfile.TemporaryDirectory(prefix="tradewind-envoy-") as folder:
        path = Path(folder) / "static.json"
        path.write_bytes(msgspec.json.encode(config))
        command = [envoy, "--mode", "validate", "--reject-unknown-dynamic-fields", "--log-level", "error"]
        try:
            done = subprocess.run(
                [*command, "--config-path", str(path)], capture_output=True, text=True, timeout=VALIDATE_S, check=False
            )
        except subprocess.TimeoutExpired:
            return f"envoy did not judge it within {VALIDATE_S:.0f} s"
    if done.returncode == 0:
        return ""
    said = [line for line in done.stderr.splitlines() if "rror initializing configuration" in line] or [done.stderr]
    reason = said[-1].partition(str(path))[2].lstrip("': ") or said[-1]
    return reason.strip()[:MAX_REASON_CHARS]


def _put_routes(manager: dict[str, Any], routes: Mapping[str, Json]) -> None:
    rds = manager.pop("rds", None)
    if rds is not None:
        name = rds["route_config_name"]
        manager["route_config"] = _untyped(routes.get(name, {"name": name, "virtual_hosts": []}))


def _with_endpoints(cluster: Json, assignment: Json) -> Json:
    made = {key: value for key, value in _untyped(cluster).items() if key != "eds_cluster_config"}
    if cluster.get("type") == "EDS":
        empty = {"cluster_name": cluster["name"], "endpoints": []}
        made |= {"type": "STRICT_DNS", "load_assignment": _untyped(assignment) or empty}
    return made


def _untyped(resource: Json) -> Json:
    return {key: value for key, value in resource.items() if key != "@type"}
