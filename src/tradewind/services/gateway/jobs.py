"""What the gateway does by itself: keep the keys fresh, keep an eye on Envoy."""

from __future__ import annotations

from tradewind.chassis.jobs import Job
from tradewind.services.gateway import usecases
from tradewind.services.gateway.parts import Parts

KEYS_EVERY_S = 5.0
ENVOY_EVERY_S = 2.0


def gateway_jobs() -> tuple[Job[Parts], Job[Parts]]:
    """`keys` and `envoy`. The first is woken by every change of the registry, so that auth's keys are here as soon as auth is."""
    return (
        Job("keys", KEYS_EVERY_S, usecases.refresh_key_set),
        Job("envoy", ENVOY_EVERY_S, usecases.observe_envoy),
    )
