"""How the gateway is assembled: registry, control plane, control port and, if it is ours to run, Envoy."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec

from tradewind.chassis.alongside import alongside
from tradewind.chassis.clock import Clock
from tradewind.chassis.foundation import Foundation
from tradewind.chassis.http import Api
from tradewind.chassis.http.openapi import openapi_document
from tradewind.chassis.identity import TokenVerifier
from tradewind.chassis.metrics import Metrics
from tradewind.chassis.service import Service
from tradewind.chassis.shared_buckets import SharedBuckets
from tradewind.mesh.bootstrap import GATEWAY_SERVICE, bootstrap_config, envoy_command
from tradewind.mesh.ca import CertificateAuthority
from tradewind.mesh.control_plane import ControlPlane
from tradewind.mesh.description import DeclaredRoute
from tradewind.mesh.envoy_admin import EnvoyAdmin, EnvoyAway
from tradewind.mesh.envoy_binary import find_envoy
from tradewind.mesh.envoy_process import EnvoyProcess
from tradewind.mesh.identity import RoomIdentities
from tradewind.mesh.instance_client import InstanceClient
from tradewind.mesh.intervention_table import InterventionTable
from tradewind.mesh.policy.source import PolicySource
from tradewind.mesh.policy.table import our_table
from tradewind.mesh.proxy_identity import ProxyIdentity
from tradewind.mesh.registries import registry_of
from tradewind.mesh.state_file import StateFile
from tradewind.mesh.xds import Xds
from tradewind.services.gateway import store
from tradewind.services.gateway.api import api
from tradewind.services.gateway.clients import KeySource
from tradewind.services.gateway.control import control_app
from tradewind.services.gateway.control_server import serving
from tradewind.services.gateway.figures import Figures
from tradewind.services.gateway.interventions import HeldKeys
from tradewind.services.gateway.jobs import certificate_job, gateway_jobs, shared_limits_job
from tradewind.services.gateway.parts import EnvoyView, Parts
from tradewind.services.gateway.settings import GatewaySettings, prepare_edge_certificate

POLL_S = 0.05


def create_app(settings: GatewaySettings, parts: Parts | None = None) -> Service[Parts]:
    """The gateway as a service; a test may bring its own parts."""

    def assemble(foundation: Foundation) -> AbstractAsyncContextManager[Parts]:
        return _assembled(settings, foundation) if parts is None else contextlib.nullcontext(parts)

    return Service(room="gateway", api=api, assemble=assemble, jobs=lambda made: made.jobs)


def make_parts(settings: GatewaySettings, metrics: Metrics, clock: Clock) -> Parts:
    """The parts, with nothing running yet."""
    identities = RoomIdentities(settings.registry_secret.reveal())
    registry = registry_of(
        settings, identities, store.registry_file(settings.state_dir), settings.dns_services.split(",")
    )
    xds = Xds()
    keys, *others = gateway_jobs()
    policies = PolicySource(
        our_table(),
        Path(settings.policy_file) if settings.policy_file else None,
        store.last_policy_file(settings.state_dir),
    )
    key_store = store.KeyStore(store.keys_file(settings.state_dir))
    interventions = InterventionTable(store.interventions_file(settings.state_dir), clock)
    authority = _authority(settings, clock)
    proxy_identity = ProxyIdentity(authority, Path(settings.state_dir) / "identity") if authority else None
    parts = Parts(
        authority=authority,
        proxy_identity=proxy_identity,
        identities=identities,
        registry=registry,
        xds=xds,
        control_plane=ControlPlane(
            registry,
            xds,
            settings.rate_limits,
            own_service=GATEWAY_SERVICE,
            own_routes=declared_routes(api),
            cors=settings.cors,
            policies=policies.table,
            interventions=interventions.running,
            secret_files=settings.secret_files,
        ),
        policies=policies,
        interventions=interventions,
        operators=TokenVerifier(HeldKeys(key_store), clock=clock),
        keys=key_store,
        key_source=KeySource(InstanceClient(proxy_identity)),
        envoy=EnvoyAdmin(f"http://{settings.envoy_admin_host}:{settings.envoy_admin_port}"),
        view=EnvoyView(),
        shared_buckets=SharedBuckets(settings.valkey_url, "limits") if settings.valkey_url else None,
        own_document=openapi_document(api, version=importlib.metadata.version("tradewind")),
        bootstrap=bootstrap_config(settings.bootstrap),
        envoy_binary=settings.envoy_binary,
        figures=Figures(metrics),
        jobs=(
            keys,
            *others,
            *([certificate_job(settings)] if settings.tls_port else []),
            *([shared_limits_job()] if settings.valkey_url else []),
        ),
    )
    registry.on_change(keys.wake)
    interventions.on_change(parts.control_plane.publish)
    return parts


def _authority(settings: GatewaySettings, clock: Clock) -> CertificateAuthority | None:
    if settings.mesh_mtls == "off":
        return None
    file = StateFile(Path(settings.ca_file)) if settings.ca_file else store.root_file(settings.state_dir)
    return CertificateAuthority.open(
        file, lifetime_s=settings.certificate_lifetime_s, clock=clock, make=not settings.ca_file
    )


def declared_routes(api: Api) -> list[DeclaredRoute]:
    """The operations of `api` in the form in which services register theirs."""
    return [
        msgspec.convert(
            {
                "path": operation.path,
                "methods": [operation.method],
                "access": operation.access.kind,
                "roles": operation.access.roles,
                "idempotent": operation.idempotent,
                "rate": operation.rate,
                "timeout_s": operation.timeout_s,
                "stream": operation.stream,
                "max_body_bytes": operation.max_body_bytes,
            },
            type=DeclaredRoute,
        )
        for operation in api.operations
    ]


@contextlib.asynccontextmanager
async def _assembled(settings: GatewaySettings, foundation: Foundation) -> AsyncIterator[Parts]:
    live = foundation.live_settings(GatewaySettings)
    parts = make_parts(live.value, foundation.metrics, foundation.clock)
    live.on_change(lambda _, new: parts.control_plane.set_limits(new.rate_limits))
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(parts.key_source.close)
        stack.push_async_callback(parts.envoy.close)
        if parts.shared_buckets is not None:
            stack.push_async_callback(parts.shared_buckets.close)
        await stack.enter_async_context(parts.registry.running())
        if parts.proxy_identity is not None:
            parts.proxy_identity.renew()
            renewing = asyncio.create_task(parts.proxy_identity.keep(), name="proxy identity")
            await stack.enter_async_context(alongside(renewing))
        control = control_app(parts)
        await stack.enter_async_context(
            serving(control, settings.host, settings.control_port, before_stop=parts.xds.close)
        )
        if settings.envoy == "managed":
            await stack.enter_async_context(_managed_envoy(settings, parts))
        yield parts


@contextlib.asynccontextmanager
async def _managed_envoy(settings: GatewaySettings, parts: Parts) -> AsyncIterator[None]:
    prepare_edge_certificate(settings)
    bootstrap = StateFile(Path(settings.state_dir) / "envoy.json")
    bootstrap.write(msgspec.json.encode(bootstrap_config(settings.bootstrap)))
    command = envoy_command(
        find_envoy(settings.envoy_binary),
        str(bootstrap.path),
        concurrency=settings.envoy_workers,
        exports_spans=bool(settings.otlp_endpoint),
    )
    async with EnvoyProcess(command, parts.xds.note_refusal).running():
        yield
        await _drain(parts.envoy, settings.drain_s)


async def _drain(envoy: EnvoyAdmin, patience_s: float) -> None:
    """Let the requests under way end: Envoy itself would cut them off when told to stop."""
    await envoy.drain()
    give_up_s = time.monotonic() + patience_s
    with contextlib.suppress(EnvoyAway):
        while time.monotonic() < give_up_s:
            stats = await envoy.stats()
            if not any(stats.listener(name).get("downstream_rq_active") for name in ("edge", "egress")):
                return
            await asyncio.sleep(POLL_S)
