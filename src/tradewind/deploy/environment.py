"""What a container reads. The settings classes say which variables there are; here is what a deployment answers.

A secret is never a value in a file of ours: the container gets `NAME_FILE`, the path at which the platform mounts it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from tradewind.chassis.settings import Field, Settings, describe
from tradewind.sandbox.settings import SandboxSettings
from tradewind.stack.administrator import DEFAULT_EMAIL
from tradewind.stack.handed_in import ADMIN_URL
from tradewind.stack.room_settings import settings_class

HTTP_PORT = 8000
MANAGEMENT_PORT = 9000
EDGE_PORT = 8080
EGRESS_PORT = 8081
CONTROL_PORT = 8082
ENVOY_ADMIN_PORT = 9901
"""Ports inside containers, where every room has an address of its own. Only the edge is ever published."""

STATE_FOLDER = "/var/lib/tradewind"
GATEWAY = "gateway-service"
SANDBOX = "psp-sandbox"


class DeployError(Exception):
    """A room reads a variable for which no deployment has an answer; the message says where to give one."""


@dataclass(frozen=True)
class Adjustable:
    """A value whoever deploys may set under the variable's own name."""

    default: str


@dataclass(frozen=True)
class SecretPath:
    """A variable that is itself the path of a secret file."""

    secret: str


Value: TypeAlias = str | Adjustable | SecretPath


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What one container reads: variables with their values, and variables with the name of the secret that holds theirs."""

    values: Mapping[str, Value]
    secrets: Mapping[str, str] = field(default_factory=dict)

    def mounted(self, folder: str) -> dict[str, str | Adjustable]:
        """The variables as they are set when the platform mounts secrets in `folder`."""
        return {
            **{
                name: f"{folder}/{value.secret}" if isinstance(value, SecretPath) else value
                for name, value in self.values.items()
            },
            **{f"{name}_FILE": f"{folder}/{secret}" for name, secret in self.secrets.items()},
        }

    @property
    def secret_names(self) -> list[str]:
        """The secrets to mount, sorted."""
        paths = {value.secret for value in self.values.values() if isinstance(value, SecretPath)}
        return sorted({*self.secrets.values(), *paths})


_VALUES: Mapping[str, Value] = {
    "TRADEWIND_ENV": Adjustable("prod"),
    "LOG_LEVEL": Adjustable("info"),
    "OTEL_EXPORTER_OTLP_ENDPOINT": Adjustable(""),
    "OTEL_TRACES_SAMPLER_ARG": Adjustable("0.01"),
    "MESH_URL": f"http://{GATEWAY}:{EGRESS_PORT}",
    "REGISTRY_URL": f"http://{GATEWAY}:{CONTROL_PORT}",
    "JWKS_URL": f"http://{GATEWAY}:{HTTP_PORT}/.well-known/jwks.json",
    "TRADEWIND_ADMIN_EMAIL": Adjustable(DEFAULT_EMAIL),
    "AUTH_SIGNING_KEYS_FILE": SecretPath("auth_signing_keys"),
    "PAYMENT_PROVIDER": Adjustable("auto"),
    "PAYMENT_STRIPE_REHEARSAL": Adjustable("false"),
    "PAYMENT_STRIPE_RETURN_URL": Adjustable(""),
    "PAYMENT_SANDBOX_URL": f"http://{SANDBOX}:{HTTP_PORT}",
    "GATEWAY_ADVERTISE_HOST": "127.0.0.1",  # to its own Envoy, which runs in the same container
    "GATEWAY_CONTROL_PORT": str(CONTROL_PORT),
    "GATEWAY_EDGE_PORT": str(EDGE_PORT),
    "GATEWAY_EGRESS_HOST": "0.0.0.0",
    "GATEWAY_EGRESS_PORT": str(EGRESS_PORT),
    "GATEWAY_ENVOY_ADMIN_PORT": str(ENVOY_ADMIN_PORT),
    "GATEWAY_STATE_DIR": STATE_FOLDER,
    "PSP_SANDBOX_HOST": "0.0.0.0",
    "PSP_SANDBOX_PORT": str(HTTP_PORT),
    "PSP_SANDBOX_PUBLIC_URL": Adjustable(""),
    "PSP_SANDBOX_STATE": STATE_FOLDER,
    "PSP_SANDBOX_WEBHOOK_URL": f"http://{GATEWAY}:{EDGE_PORT}/v1/payments/webhooks/sandbox",
}
"""Variable -> value, for every room that reads it."""

_SECRETS: Mapping[str, str] = {
    "BUS_URL": "bus_url",
    "VALKEY_URL": "valkey_url",
    "REGISTRY_TOKEN": "{room}_registry_token",
    "TRADEWIND_ADMIN_PASSWORD": "admin_password",
    "PAYMENT_STRIPE_API_KEY": "stripe_api_key",
    "PAYMENT_STRIPE_WEBHOOK_SECRET": "stripe_webhook_secret",
    # The stand-in's two secrets are the same to both who share them.
    "PAYMENT_SANDBOX_API_KEY": "psp_sandbox_api_key",
    "PAYMENT_SANDBOX_WEBHOOK_SECRET": "psp_sandbox_webhook_secret",
}
"""Variable -> secret, where the secret is optional to the room or has another name than the variable."""

_NOT_READ_BY_THE_GATEWAY = ("BUS_URL", "MESH_URL", "REGISTRY_URL", "REGISTRY_TOKEN", "JWKS_URL")
"""The control plane is the registry, and needs no database."""


def room_environment(room: str) -> Environment:
    """What the container of `room` reads. Raises DeployError when a required variable has no answer here."""
    return settings_answers(room, settings_class(room))


def sandbox_environment() -> Environment:
    """What the payment provider's stand-in reads."""
    return settings_answers("psp_sandbox", SandboxSettings)


def migration_environment(rooms: Sequence[str]) -> Environment:
    """What `tradewind migrate` reads: each database as its owner, and the event bus."""
    names = ["bus_url", *(f"{room}_migrate_database_url" for room in rooms)]
    return Environment(values={}, secrets={name.upper(): name for name in names})


def provision_environment(rooms: Sequence[str]) -> Environment:
    """What `tradewind migrate --provision` reads: the administrator's DSN, and those of all roles it is to make."""
    own = migration_environment(rooms).secrets
    runtime = {f"{room.upper()}_DATABASE_URL": f"{room}_database_url" for room in rooms}
    return Environment(values={}, secrets={ADMIN_URL: "postgres_url", **own, **runtime})


def audit_environment(rooms: Sequence[str]) -> Environment:
    """What `tradewind audit` reads: each database as its service does, the event bus, and the provider's books."""
    databases = {f"{room.upper()}_DATABASE_URL": f"{room}_database_url" for room in rooms}
    payment = settings_answers("payment", settings_class("payment"))
    shared = ("TRADEWIND_ENV", "PAYMENT_PROVIDER", "PAYMENT_SANDBOX_URL")
    keys = ("BUS_URL", "PAYMENT_STRIPE_API_KEY", "PAYMENT_SANDBOX_API_KEY")
    return Environment(
        values={name: payment.values[name] for name in shared},
        secrets={**databases, **{name: payment.secrets[name] for name in keys}},
    )


def settings_answers(room: str, settings: type[Settings]) -> Environment:
    """An answer to every variable of `settings` that needs one. Raises DeployError that names one without."""
    by_field: dict[str, Value] = {"host": "0.0.0.0", "port": str(HTTP_PORT), "management_port": str(MANAGEMENT_PORT)}
    values: dict[str, Value] = {}
    secrets: dict[str, str] = {}
    for row in describe(settings):
        if room == "gateway" and row.env in _NOT_READ_BY_THE_GATEWAY:
            continue
        value = _VALUES.get(row.env) or by_field.get(row.field)
        if row.secret and (row.required or row.env in _SECRETS):
            secrets[row.env] = _SECRETS.get(row.env, row.env.lower()).format(room=room)
        elif value is not None:
            values[row.env] = value
        elif row.required:
            raise DeployError(_unanswered(room, row))
    return Environment(values=values, secrets=secrets)


def _unanswered(room: str, row: Field) -> str:
    return f"{room} requires {row.env} ({row.meaning}) and tradewind/deploy/environment.py has no value for it"
