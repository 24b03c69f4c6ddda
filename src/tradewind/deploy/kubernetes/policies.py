"""Who may talk to whom. Nothing is let in that is not named here; registry, xDS and management are named for insiders only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tradewind.deploy.environment import GATEWAY
from tradewind.deploy.kubernetes.pods import CONTROL_PLANE, ROOM, Manifest, selector

MONITORING_NAMESPACE = "monitoring"
"""Where Prometheus runs."""


def policies() -> list[Manifest]:
    """The policies of the base."""
    rooms = _pods({"app.kubernetes.io/component": ROOM})
    gateway = selector(GATEWAY)
    everyone = {"app.kubernetes.io/part-of": "tradewind"}
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": MONITORING_NAMESPACE}}}
    return [
        policy("nothing-else", {}, ingress=[]),
        policy("the-public-door", gateway, ingress=[{"ports": [{"port": "edge"}]}]),
        policy("rooms-to-gateway", gateway, ingress=[_ingress([rooms], "http", "egress", "control")]),
        policy(
            "gateway-to-rooms",
            {"app.kubernetes.io/component": ROOM},
            ingress=[_ingress([_pods({"app.kubernetes.io/component": CONTROL_PLANE})], "http")],
        ),
        policy("monitoring", everyone, ingress=[_ingress([monitoring], "management")]),
    ]


def opened(name: str, to: str, port: int, callers: Sequence[str]) -> Manifest:
    """Lets pods of the components `callers` reach a port of `to`."""
    return policy(
        name,
        selector(to),
        ingress=[
            {
                "from": [_pods({"app.kubernetes.io/component": component}) for component in callers],
                "ports": [{"port": port}],
            }
        ],
    )


def policy(name: str, pods: Mapping[str, str], *, ingress: Sequence[Manifest]) -> Manifest:
    """A NetworkPolicy for the pods with these labels; for all without any."""
    chosen = {"matchLabels": dict(pods)} if pods else {}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": {"podSelector": chosen, "policyTypes": ["Ingress"], "ingress": list(ingress)},
    }


def _ingress(callers: Sequence[Manifest], *ports: str) -> Manifest:
    return {"from": list(callers), "ports": [{"port": port} for port in ports]}


def _pods(labels: Mapping[str, str]) -> Manifest:
    return {"podSelector": {"matchLabels": dict(labels)}}
