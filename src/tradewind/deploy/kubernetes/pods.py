"""How our image runs in a pod: as nobody, on a read-only file system, probed on the management port.

Services take no `preStop` hook: on SIGTERM a process first leaves the mesh, returns only when Envoy has acknowledged that,
and then finishes what it has begun.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from tradewind.deploy.containers import IMAGE, STOP_GRACE_S, USER_ID, Container
from tradewind.deploy.environment import HTTP_PORT, MANAGEMENT_PORT, Adjustable, Environment
from tradewind.deploy.yaml_text import Line

Manifest: TypeAlias = dict[str, Any]

SECRETS_AT = "/etc/tradewind/secrets"
"""Not /run/secrets: a mesh's sidecar may mount its own tokens below that."""

SECRET = "tradewind"  # noqa: S105 - the name of the one Secret, whose keys are the secrets' names
SETTINGS = "tradewind"
"""Name of the ConfigMap with what the operator may adjust."""

ROOM, CONTROL_PLANE, TASK, STAND_IN = "room", "control-plane", "task", "stand-in"

PORTS = {"http": HTTP_PORT, "management": MANAGEMENT_PORT}


def labels(name: str, component: str) -> dict[str, str]:
    """The standard labels of everything that belongs to `name`."""
    return {
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": "tradewind",
    }


def selector(name: str) -> dict[str, str]:
    """What finds the pods of `name`."""
    return {"app.kubernetes.io/name": name}


def manifest(api_version: str, kind: str, name: str, component: str, **body: Any) -> Manifest:
    """A resource with our labels."""
    metadata = {"name": name, "labels": labels(name, component)}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **body}


def account(name: str, component: str) -> Manifest:
    """A ServiceAccount that may do nothing: no pod of ours talks to the Kubernetes API."""
    return manifest("v1", "ServiceAccount", name, component, automountServiceAccountToken=False)


def pod(
    container: Container,
    component: str,
    *,
    ports: Mapping[str, int] | None = None,
    probes: Mapping[str, Any] | None = None,
    mounts: Mapping[str, str] | None = None,
    before: Sequence[Manifest] = (),
    **more: Any,
) -> Manifest:
    """The template of a pod with one container of ours. `mounts`: volume -> folder; `before`: init containers."""
    main = {
        **runs(container.name, container.environment, container.command, mounts),
        **({"ports": [{"name": name, "containerPort": port} for name, port in ports.items()]} if ports else {}),
        **(probes or {}),
        "resources": {
            "requests": {"cpu": "100m", "memory": f"{container.memory_mb // 2}Mi"},
            "limits": {"memory": f"{container.memory_mb}Mi"},
        },
    }
    secret_names = container.environment.secret_names
    return {
        "metadata": {"labels": labels(container.name, component)},
        "spec": {
            "serviceAccountName": container.name,
            "automountServiceAccountToken": False,
            # Kubernetes would set GATEWAY_SERVICE_PORT and the like for every Service, among variables of the same form.
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": STOP_GRACE_S,
            "securityContext": nobody(USER_ID),
            **({"initContainers": list(before)} if before else {}),
            "containers": [main],
            "volumes": [
                {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
                {"name": "secrets", "secret": secret_volume(secret_names)},
            ],
            **more,
        },
    }


def runs(
    name: str, environment: Environment, command: Sequence[str], mounts: Mapping[str, str] | None = None
) -> Manifest:
    """A container of our image: what it runs, reads and may write."""
    values = environment.mounted(SECRETS_AT)
    adjustable = [key for key, value in values.items() if isinstance(value, Adjustable)]
    folders = {"tmp": "/tmp", **(mounts or {})}  # noqa: S108
    return {
        "name": name,
        "image": IMAGE,
        "args": Line(command),
        **({"envFrom": [{"configMapRef": {"name": SETTINGS}}]} if adjustable else {}),
        "env": [{"name": key, "value": value} for key, value in values.items() if isinstance(value, str)],
        "securityContext": powerless(),
        "volumeMounts": [
            *({"name": volume, "mountPath": folder} for volume, folder in folders.items()),
            {"name": "secrets", "mountPath": SECRETS_AT, "readOnly": True},
        ],
    }


def secret_volume(names: Sequence[str]) -> Manifest:
    """The named keys of our Secret, as files that the pod's group may read."""
    return {"secretName": SECRET, "defaultMode": 0o440, "items": [{"key": name, "path": name} for name in names]}


def nobody(user_id: int) -> Manifest:
    """The pod's half of the standard `restricted`."""
    return {
        "runAsNonRoot": True,
        "runAsUser": user_id,
        "runAsGroup": user_id,
        "fsGroup": user_id,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def powerless() -> Manifest:
    """The container's half."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": Line(["ALL"])},
    }


def probes() -> Manifest:
    """Of a service: alive as long as its event loop turns, whatever its neighbours do; ready when its database answers.

    It has started once it is known to the mesh; it waits up to 60 s for engines that start beside it.
    """
    alive = {"httpGet": {"path": "/livez", "port": "management"}, "timeoutSeconds": 3}
    return {
        "startupProbe": {
            **alive,
            "httpGet": {"path": "/startupz", "port": "management"},
            "periodSeconds": 2,
            "failureThreshold": 45,
        },
        "livenessProbe": {**alive, "periodSeconds": 10, "failureThreshold": 3},
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": "management"},
            "timeoutSeconds": 3,
            "periodSeconds": 5,
        },
    }
