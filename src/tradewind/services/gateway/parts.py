"""What the gateway is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tradewind.chassis.identity import TokenVerifier
from tradewind.chassis.jobs import Job
from tradewind.chassis.shared_buckets import SharedBuckets
from tradewind.mesh.ca import CertificateAuthority
from tradewind.mesh.control_plane import ControlPlane
from tradewind.mesh.discovery import Registry
from tradewind.mesh.envoy_admin import EnvoyAdmin, EnvoyStats
from tradewind.mesh.identity import RoomIdentities
from tradewind.mesh.intervention_table import InterventionTable
from tradewind.mesh.policy.source import PolicySource
from tradewind.mesh.proxy_identity import ProxyIdentity
from tradewind.mesh.xds import Xds
from tradewind.services.gateway.clients import KeySource
from tradewind.services.gateway.figures import Figures
from tradewind.services.gateway.store import KeyStore


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Everything a use case may touch."""

    identities: RoomIdentities
    authority: CertificateAuthority | None
    """None without mutual TLS."""
    proxy_identity: ProxyIdentity | None
    registry: Registry
    xds: Xds
    control_plane: ControlPlane
    policies: PolicySource
    interventions: InterventionTable
    operators: TokenVerifier
    keys: KeyStore
    key_source: KeySource
    envoy: EnvoyAdmin
    view: EnvoyView
    shared_buckets: SharedBuckets | None
    """Where limits are counted for all gateways; None: each counts for itself."""
    own_document: dict[str, Any]
    bootstrap: dict[str, Any]
    envoy_binary: str
    figures: Figures
    jobs: tuple[Job[Parts], ...]


@dataclass
class EnvoyView:
    """What Envoy's admin last said; None while it is away."""

    stats: EnvoyStats | None = None
    live: bool = False
