"""A room in Kubernetes."""

from __future__ import annotations

from tradewind.deploy import containers
from tradewind.deploy.containers import MIGRATION
from tradewind.deploy.environment import Environment
from tradewind.deploy.kubernetes.pods import (
    PORTS,
    ROOM,
    Manifest,
    account,
    manifest,
    pod,
    probes,
    runs,
    selector,
)

AUTOSCALED = ("order", "payment")
"""Where load arrives: placing an order and paying for it."""

REPLICAS = 2
MAX_REPLICAS = 6
BUSY_PERCENT = 70
"""Of the requested CPU, at which another replica starts."""


def room_manifests(room: str) -> list[Manifest]:
    """Everything of one room."""
    name = f"{room}-service"
    return [
        account(name, ROOM),
        _deployment(room, name),
        # Requests come through Envoy, which knows the pods from the registry; this gives them names in the DNS.
        manifest(
            "v1", "Service", name, ROOM,
            spec={
                "clusterIP": "None",
                "selector": selector(name),
                "ports": [{"name": port, "port": number, "targetPort": port} for port, number in PORTS.items()],
            },
        ),
        manifest(
            "policy/v1", "PodDisruptionBudget", name, ROOM,
            spec={"maxUnavailable": 1, "selector": {"matchLabels": selector(name)}},
        ),
        *([_autoscaler(name)] if room in AUTOSCALED else []),
    ]  # fmt: skip


def _deployment(room: str, name: str) -> Manifest:
    container = containers.service(room)
    database = f"{room}_database_url"
    reads = Environment(values={}, secrets={database.upper(): database})
    waits = {
        **runs("migrated", reads, (MIGRATION, room, "--check")),
        "resources": {"requests": {"cpu": "100m", "memory": "96Mi"}, "limits": {"memory": "256Mi"}},
    }
    template = pod(
        container,
        ROOM,
        ports=PORTS,
        probes=probes(),
        # Fails, and is tried again, until the Job has brought the database to this version. Old pods serve meanwhile.
        before=[waits],
        topologySpreadConstraints=[
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": selector(name)},
            }
        ],
    )
    # Where an autoscaler decides, a number here would undo its decision at every apply.
    replicas = {} if room in AUTOSCALED else {"replicas": REPLICAS}
    return manifest(
        "apps/v1", "Deployment", name, ROOM,
        spec={
            **replicas,
            "selector": {"matchLabels": selector(name)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": template,
        },
    )  # fmt: skip


def _autoscaler(name: str) -> Manifest:
    busy = {"type": "Utilization", "averageUtilization": BUSY_PERCENT}
    return manifest(
        "autoscaling/v2", "HorizontalPodAutoscaler", name, ROOM,
        spec={
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": REPLICAS,
            "maxReplicas": MAX_REPLICAS,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": busy}}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
        },
    )  # fmt: skip
