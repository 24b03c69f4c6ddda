"""What the gateway does by itself: keep the keys fresh, keep an eye on Envoy."""

from __future__ import annotations

import asyncio

from tradewind.chassis.errors import Unavailable
from tradewind.chassis.jobs import Job
from tradewind.chassis.shared_buckets import WATCH_EVERY_S
from tradewind.mesh.edge_certificate import CertificateUnusable
from tradewind.services.gateway import interventions, usecases
from tradewind.services.gateway.parts import Parts
from tradewind.services.gateway.policy import reload_policy
from tradewind.services.gateway.settings import GatewaySettings, prepare_edge_certificate
from tradewind.services.gateway.shared_limits import watch_shared_limits

KEYS_EVERY_S = 5.0
ENVOY_EVERY_S = 2.0
POLICY_EVERY_S = 1.0
INTERVENTIONS_EVERY_S = 0.5
"""How long one may outlast its time."""
CERTIFICATE_EVERY_S = 3600.0


def certificate_job(settings: GatewaySettings) -> Job[Parts]:
    """`edge-certificate`: one of our own making is made anew before it ends; Envoy takes it from the file."""

    async def renew(parts: Parts) -> None:
        try:
            ends = await asyncio.to_thread(prepare_edge_certificate, settings)
        except CertificateUnusable as exc:
            raise Unavailable("edge-certificate-unusable", f"{exc}.") from exc
        parts.figures.note_certificate(ends)

    return Job("edge-certificate", CERTIFICATE_EVERY_S, renew)


def shared_limits_job() -> Job[Parts]:
    """`shared-limits`: notices that Valkey went away or is back, also while nobody logs in."""
    return Job("shared-limits", WATCH_EVERY_S, watch_shared_limits)


def gateway_jobs() -> tuple[Job[Parts], Job[Parts], Job[Parts], Job[Parts]]:
    """`keys`, `envoy`, `policy` and `interventions`. The first is woken by every change of the registry, so that auth's keys are here as soon as auth is."""
    return (
        Job("keys", KEYS_EVERY_S, usecases.refresh_key_set),
        Job("envoy", ENVOY_EVERY_S, usecases.observe_envoy),
        Job("policy", POLICY_EVERY_S, reload_policy),
        Job("interventions", INTERVENTIONS_EVERY_S, interventions.end_what_is_over),
    )
