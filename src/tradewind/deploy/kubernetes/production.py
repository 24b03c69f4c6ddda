"""k8s/base: the platform on managed engines, whose connection strings the operator gives in one Secret."""

from __future__ import annotations

from collections.abc import Sequence

from tradewind.deploy import containers
from tradewind.deploy.containers import IMAGE, Container, image_version
from tradewind.deploy.environment import Adjustable
from tradewind.deploy.kubernetes.audit import audit_manifests
from tradewind.deploy.kubernetes.gateway import gateway_manifests
from tradewind.deploy.kubernetes.migrate import migrate_manifests
from tradewind.deploy.kubernetes.pods import SECRET, SETTINGS, Manifest
from tradewind.deploy.kubernetes.policies import policies
from tradewind.deploy.kubernetes.rooms import room_manifests
from tradewind.deploy.yaml_text import documents
from tradewind.stack.rooms import CONTROL_PLANE

NAMESPACE = "tradewind"

_SAID = "Written by `tradewind render k8s --write .`, and a test holds it to that."

_SECRET_SAID = f"""\
{_SAID}

The one Secret of the platform, with a key a secret. Not part of the base: make it where secrets are made, for example

  tradewind render k8s --secrets secrets       random passwords and keys; put your connection strings in
  kubectl create secret generic {SECRET} --namespace {NAMESPACE} --from-file=secrets

Every pod mounts only the keys it reads. A *_database_url is a room's runtime role, a *_migrate_database_url the owner of
its database; `tradewind migrate --provision` makes both. A *_registry_token is the hex HMAC-SHA256 of the room's name under
gateway_registry_secret."""


def base_files(rooms: Sequence[str]) -> dict[str, str]:
    """Path below k8s/ -> text, of the base and the example of its Secret."""
    services = [room for room in rooms if room != CONTROL_PLANE]
    resources: dict[str, str] = {
        "namespace.yaml": documents(_SAID, [_namespace()]),
        "network-policies.yaml": documents(_SAID, policies()),
        "gateway-service.yaml": documents(_SAID, gateway_manifests()),
        "migrate.yaml": documents(_SAID, migrate_manifests(containers.migration(services))),
        "audit.yaml": documents(_SAID, audit_manifests(containers.audit(services))),
        **{f"{room}-service.yaml": documents(_SAID, room_manifests(room)) for room in services},
    }
    kustomization = documents(_SAID, [_kustomization(list(resources), _base_containers(services))])
    return {
        "base/kustomization.yaml": kustomization,
        **{f"base/{name}": text for name, text in resources.items()},
        "secret.example.yaml": documents(_SECRET_SAID, [_secret(_base_containers(services))]),
    }


def _base_containers(services: Sequence[str]) -> list[Container]:
    return [
        containers.migration(services),
        containers.audit(services),
        containers.gateway(),
        *(containers.service(room) for room in services),
    ]


def _kustomization(resources: Sequence[str], every: Sequence[Container]) -> Manifest:
    adjustable = {
        name: value.default
        for container in every
        for name, value in container.environment.values.items()
        if isinstance(value, Adjustable)
    }
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": NAMESPACE,
        "resources": list(resources),
        "images": [{"name": IMAGE, "newTag": image_version()}],
        # A generated name, so that a changed setting is a new ConfigMap and the pods roll over to it.
        "configMapGenerator": [
            {"name": SETTINGS, "literals": [f"{name}={value}" for name, value in adjustable.items()]}
        ],
    }


def _namespace() -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    }


def _secret(every: Sequence[Container]) -> Manifest:
    names = sorted({name for container in every for name in container.environment.secret_names})
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": NAMESPACE},
        "type": "Opaque",
        "stringData": {name: _example(name) for name in names},
    }


def _example(name: str) -> str:
    if name == "valkey_url":
        return "rediss://:PASSWORD@valkey.example.com:6379/0"
    if name == "notification_smtp_url":
        return "smtp+starttls://USER:PASSWORD@smtp.example.com:587"
    if name == "stripe_api_key":
        return "rk_live_CHANGE-ME"
    if name == "stripe_webhook_secret":
        return "whsec_CHANGE-ME"
    if name == "bus_url":
        return "postgresql://bus:PASSWORD@postgres.example.com:5432/bus?sslmode=verify-full"
    if name.endswith("_database_url"):
        room = name.split("_", 1)[0]
        role = f"{room}_owner" if "_migrate_" in name else f"{room}_service"
        return f"postgresql://{role}:PASSWORD@postgres.example.com:5432/{room}_service?sslmode=verify-full"
    return "CHANGE-ME"
