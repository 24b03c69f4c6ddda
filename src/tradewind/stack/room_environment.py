"""The environment that a room's process gets on this machine: the shared variables, and what single rooms need more.

What the caller of `tradewind up` set for a room (`ORDER_RESERVATION_TTL_S=5`) passes through to that room and wins over
a default, but not over what the supervisor decides: shared addresses, ports and names. Other rooms' variables, and ours (`TRADEWIND_*`, the
admin's DSN among them), do not reach it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tradewind.chassis.settings import SettingsError, read_layers
from tradewind.chassis.settings_file import FILE_VARIABLE
from tradewind.mesh.identity import room_token
from tradewind.stack.config_paths import config_file, live_config_url
from tradewind.stack.detours import Detours
from tradewind.stack.kept_secrets import Secrets
from tradewind.stack.process import MARK
from tradewind.stack.provision import RoomAccess, room_access, url_for
from tradewind.stack.room_settings import settings_class

_OURS = ("PSP_SANDBOX_", "TRADEWIND_")


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Where things listen for the life of a stack; `*_url` may be an external engine's."""

    postgres_url: str
    """DSN of the administrator."""
    valkey_url: str
    smtp_url: str
    kafka_url: str = ""
    consul_url: str = ""
    edge_host: str
    edge_port: int
    edge_tls_port: int = 0
    gateway_port: int
    gateway_management_port: int
    control_port: int
    egress_port: int
    envoy_admin_port: int
    sandbox_port: int
    detours: Detours = field(default_factory=Detours)
    """Where a process uses another address than these."""

    @property
    def edge_url(self) -> str:
        """The public door, as processes on this machine reach it."""
        host = "127.0.0.1" if self.edge_host in ("0.0.0.0", "::") else self.edge_host
        return f"http://{host}:{self.edge_port}"


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What environments are made of: the caller's own, the addresses, the secrets, and the state folder's paths."""

    environ: Mapping[str, str]
    rooms: tuple[str, ...]
    addresses: Addresses
    secrets: Secrets
    folder: Path
    administrator: Mapping[str, str]
    """`TRADEWIND_ADMIN_EMAIL` and `TRADEWIND_ADMIN_PASSWORD`, or nothing."""

    @property
    def configuration(self) -> dict[str, str]:
        """Where every process finds the file of settings, if there is one, and the live ones."""
        file = config_file(self.environ, self.folder)
        named = {FILE_VARIABLE: str(file)} if file else {}
        return {**named, "LIVE_CONFIG_URL": live_config_url(self.environ, self.folder)}

    def access(self, room: str) -> RoomAccess:
        """The DSNs of a room's database."""
        login, password = self.secrets.login(room)
        owner_password = self.secrets.get(f"{room}_owner")
        return room_access(
            self.addresses.postgres_url, room, password=password, owner_password=owner_password, login=login
        )

    @property
    def bus_url(self) -> str:
        """Address of the event bus: a Kafka cluster, or a database of its own."""
        if self.addresses.kafka_url:
            return self.addresses.kafka_url
        return url_for(self.addresses.postgres_url, "bus", self.secrets.get("bus"), "bus")

    @property
    def signing_keys_file(self) -> Path:
        """The keys access tokens are signed with; made by `prepare.py`."""
        return self.folder / "signing-keys.json"

    def inherited(self, room: str | None = None) -> dict[str, str]:
        """The caller's environment without what belongs to other rooms and to the stack; marked as ours."""
        foreign = tuple(f"{other.upper()}_" for other in self.rooms if other != room)
        kept = {name: value for name, value in self.environ.items() if not name.startswith(foreign + _OURS)}
        return {**kept, MARK: str(self.folder), "PYTHONUNBUFFERED": "1"}

    def of_room(self, room: str, instance: str, port: int, management_port: int) -> dict[str, str]:
        """Everything a process of `room` reads."""
        prefix = room.upper()
        at = self.addresses
        way = partial(at.detours.url, room)
        inherited, in_file = self.inherited(room), self._in_file(room)
        inherited.pop(f"{prefix}_MIGRATE_DATABASE_URL", None)  # the owner's rights are for migrations only
        return {
            **{name: value for name, value in self._defaults(room).items() if name not in in_file},
            **inherited,
            **self.configuration,
            "TRADEWIND_ENV": "dev",
            "BUS_URL": way("bus", self.bus_url),
            "VALKEY_URL": way("valkey", at.valkey_url),
            "MESH_URL": way("mesh", f"http://127.0.0.1:{at.egress_port}"),
            "REGISTRY_URL": at.consul_url or way("registry", f"http://127.0.0.1:{at.control_port}"),
            "REGISTRY_TOKEN": room_token(self.secrets.get("platform"), room),
            "JWKS_URL": f"http://127.0.0.1:{at.gateway_port}/.well-known/jwks.json",
            f"{prefix}_HOST": "127.0.0.1",
            f"{prefix}_PORT": str(port),
            f"{prefix}_MANAGEMENT_PORT": str(management_port),
            f"{prefix}_INSTANCE": instance,
        }

    def of_gateway(self, instance: str) -> dict[str, str]:
        """Everything the control plane reads: no database and no bus, and no registry but its own."""
        at = self.addresses
        return {
            **self.inherited("gateway"),
            **self.configuration,
            "GATEWAY_ENVOY": "external",
            "REGISTRY_URL": at.consul_url,
            "TRADEWIND_ENV": "dev",
            "VALKEY_URL": at.detours.url("gateway", "valkey", at.valkey_url),
            "GATEWAY_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(at.gateway_port),
            "GATEWAY_MANAGEMENT_PORT": str(at.gateway_management_port),
            "GATEWAY_INSTANCE": instance,
            "GATEWAY_STATE_DIR": str(self.folder / "gateway"),
            "GATEWAY_REGISTRY_SECRET": self.secrets.get("platform"),
            "GATEWAY_CONTROL_PORT": str(at.control_port),
            "GATEWAY_EDGE_HOST": at.edge_host,
            "GATEWAY_EDGE_PORT": str(at.edge_port),
            "GATEWAY_TLS_PORT": str(at.edge_tls_port),
            "GATEWAY_EGRESS_HOST": "127.0.0.1",
            "GATEWAY_EGRESS_PORT": str(at.egress_port),
            "GATEWAY_ENVOY_ADMIN_PORT": str(at.envoy_admin_port),
        }

    def of_sandbox(self) -> dict[str, str]:
        """Everything the payment provider stand-in reads; faults may be set by the caller (`PSP_SANDBOX_SEED`, ...)."""
        own = {name: value for name, value in self.environ.items() if name.startswith("PSP_SANDBOX_")}
        return {
            **self.inherited(),
            **self.configuration,
            "PSP_SANDBOX_WEBHOOK_URL": self.addresses.detours.url(
                "psp-sandbox", "webhooks", f"{self.addresses.edge_url}/v1/payments/webhooks/sandbox"
            ),
            **own,
            "TRADEWIND_ENV": "dev",
            "PSP_SANDBOX_HOST": "127.0.0.1",
            "PSP_SANDBOX_PORT": str(self.addresses.sandbox_port),
            "PSP_SANDBOX_STATE": str(self.folder / "sandbox"),
            "PSP_SANDBOX_API_KEY": self.secrets.both("sandbox_api_key"),
            "PSP_SANDBOX_WEBHOOK_SECRET": self.secrets.get("sandbox_webhook"),
        }

    def _in_file(self, room: str) -> set[str]:
        """What the file of settings says to `room`: our defaults give way to it. A wrong file is found at the start."""
        with contextlib.suppress(SettingsError):
            return set(read_layers(settings_class(room), self.configuration).file)
        return set()

    def _defaults(self, room: str) -> dict[str, str]:
        """What only this room needs, unless the caller set it."""
        at = self.addresses
        way = partial(at.detours.url, room)
        match room:
            case "payment":
                particular = {
                    "PAYMENT_PROVIDER": "sandbox",
                    "PAYMENT_SANDBOX_URL": way("psp", f"http://127.0.0.1:{at.sandbox_port}"),
                    "PAYMENT_SANDBOX_API_KEY": self.secrets.get("sandbox_api_key"),
                    "PAYMENT_SANDBOX_WEBHOOK_SECRET": self.secrets.both("sandbox_webhook"),
                }
            case "notification":
                particular = {"NOTIFICATION_SMTP_URL": way("smtp", at.smtp_url)}
            case "auth":
                particular = {"AUTH_SIGNING_KEYS_FILE": str(self.signing_keys_file), **self.administrator}
            case _:
                particular = {}
        replica = f"{room.upper()}_DATABASE_READ_URL"
        if url := self.environ.get(f"TRADEWIND_{replica}"):
            particular[replica] = url
        return {f"{room.upper()}_DATABASE_URL": way("postgres", self.access(room).url), **particular}
