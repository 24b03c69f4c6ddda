"""The gateway's own metrics: how the mesh stands, as far as one number can say it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime

from tradewind.chassis.metrics import Metrics
from tradewind.mesh.envoy_admin import EnvoyStats
from tradewind.mesh.interventions import KINDS
from tradewind.mesh.xds import Standing


class Figures:
    """Gauges, set each time Envoy is looked at. Envoy's own figures are not a number while it is away."""

    def __init__(self, metrics: Metrics) -> None:
        self._instances = metrics.gauge("mesh_instances", "Instances whose lease runs.")
        self._conflicts = metrics.gauge("mesh_route_conflicts", "Operations that two services declare.")
        self._behind = metrics.gauge(
            "mesh_subscriptions_behind", "Subscriptions of connected Envoys that do not run the current version."
        )
        self._live = metrics.gauge("mesh_envoy_live", "Whether Envoy answers and has its configuration.")
        self._refused = metrics.gauge("mesh_envoy_refused_updates", "Updates Envoy refused since it started.")
        self._certificate = metrics.gauge(
            "mesh_edge_certificate_expiry_timestamp_seconds", "When the certificate of the TLS port expires, Unix time."
        )
        self._policy_faults = metrics.gauge(
            "mesh_policy_faults", "Mistakes in the policy file, which is not in force then."
        )
        self._shared_limits = metrics.gauge(
            "mesh_limits_shared", "Whether gateways count together; 0: Valkey is away, and each counts for itself."
        )
        self._limits = metrics.counter("mesh_shared_limit_checks", "Questions about shared limits.", ("result",))
        requests = metrics.gauge("mesh_envoy_requests", "Requests taken by Envoy since it started.", ("listener",))
        self._requests = {name: requests.labels(name) for name in ("edge", "egress")}

        running = metrics.gauge("mesh_interventions", "What operators do to traffic now.", ("kind",))
        self._interventions = {kind: running.labels(kind) for kind in KINDS}

    def note_shared_limits(self, away: str) -> None:
        """Set whether limits are shared; `away` says why not."""
        self._shared_limits.set(not away)

    def count_limit(self, result: str) -> None:
        """Count one question about a shared limit: `taken`, `refused`, or `away`."""
        self._limits.labels(result).inc()

    def note_certificate(self, ends: datetime | None) -> None:
        """Set when the certificate of the TLS port expires."""
        self._certificate.set(ends.timestamp() if ends else math.nan)

    def note_policy(self, faults: int) -> None:
        """Tell of a wrong policy file."""
        self._policy_faults.set(faults)

    def note_interventions(self, running: Mapping[str, int]) -> None:
        """Set how many interventions of each kind run."""
        for kind, gauge in self._interventions.items():
            gauge.set(running.get(kind, 0))

    def note(
        self, *, instances: int, conflicts: int, standings: Sequence[Standing], stats: EnvoyStats | None, live: bool
    ) -> None:
        """Set all gauges."""
        self._instances.set(instances)
        self._conflicts.set(conflicts)
        self._behind.set(sum(standing.connected and standing.accepted != standing.current for standing in standings))
        self._live.set(live)
        self._refused.set(sum(stats.refused_updates.values()) if stats else math.nan)
        for name, gauge in self._requests.items():
            gauge.set(stats.listener(name).get("downstream_rq_total", 0) if stats else math.nan)
