"""The control plane with its Envoy: one pod that keeps what it knows on a small volume.

One, since the registry is its memory: rooms announce themselves to one process. A restart takes the door away for the
seconds it needs; it comes back with all it knew, and no room has to announce itself again.
"""

from __future__ import annotations

from tradewind.deploy import containers
from tradewind.deploy.environment import CONTROL_PORT, EDGE_PORT, EGRESS_PORT, GATEWAY, STATE_FOLDER
from tradewind.deploy.kubernetes.pods import (
    CONTROL_PLANE,
    PORTS,
    Manifest,
    account,
    manifest,
    pod,
    probes,
    selector,
)

EDGE = "gateway"
"""Name of the public Service."""

STATE = "state"


def gateway_manifests() -> list[Manifest]:
    """Everything of the gateway."""
    inside = {"http": PORTS["http"], "egress": EGRESS_PORT, "control": CONTROL_PORT, "management": PORTS["management"]}
    template = pod(
        containers.gateway(),
        CONTROL_PLANE,
        ports={"edge": EDGE_PORT, **inside},
        probes={**probes(), "readinessProbe": {"exec": {"command": containers.GATEWAY_PROBE}, "periodSeconds": 5}},
        mounts={STATE: STATE_FOLDER},
    )
    return [
        account(GATEWAY, CONTROL_PLANE),
        manifest(
            "apps/v1", "StatefulSet", GATEWAY, CONTROL_PLANE,
            spec={
                "serviceName": GATEWAY,
                "replicas": 1,
                "selector": {"matchLabels": selector(GATEWAY)},
                "template": template,
                "volumeClaimTemplates": [volume_claim(STATE, "100Mi")],
            },
        ),
        manifest(
            "v1", "Service", GATEWAY, CONTROL_PLANE,
            spec={
                "selector": selector(GATEWAY),
                "ports": [{"name": name, "port": port, "targetPort": name} for name, port in inside.items()],
            },
        ),
        manifest(
            "v1", "Service", EDGE, CONTROL_PLANE,
            spec={
                "type": "LoadBalancer",
                # Keeps the client's address, which the rate limits go by.
                "externalTrafficPolicy": "Local",
                "selector": selector(GATEWAY),
                "ports": [{"name": "http", "port": 80, "targetPort": "edge"}],
            },
        ),
    ]  # fmt: skip


def volume_claim(name: str, size: str) -> Manifest:
    """A claim on a volume for one pod, of the cluster's default kind."""
    return {
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}},
    }
