"""k8s/overlays/dev: the base with engines of its own, and what stands in for the world. For a cluster one may throw away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tradewind.deploy import compose, containers
from tradewind.deploy.environment import HTTP_PORT, SANDBOX, STATE_FOLDER
from tradewind.deploy.kubernetes.gateway import STATE, volume_claim
from tradewind.deploy.kubernetes.migrate import job_name
from tradewind.deploy.kubernetes.pods import (
    ROOM,
    SECRET,
    SECRETS_AT,
    SETTINGS,
    STAND_IN,
    TASK,
    Manifest,
    account,
    labels,
    manifest,
    nobody,
    pod,
    powerless,
    secret_volume,
    selector,
)
from tradewind.deploy.kubernetes.policies import opened
from tradewind.deploy.kubernetes.production import NAMESPACE
from tradewind.deploy.secret_files import secret_names
from tradewind.deploy.yaml_text import Line, documents, dump
from tradewind.stack.rooms import CONTROL_PLANE

OVERLAY = "overlays/dev"
SECRETS_FOLDER = "secrets"

ENGINE_USER_ID = 999
"""`postgres` and `valkey` in their images."""

_SAID = f"""\
Written by `tradewind render k8s --write .`, and a test holds it to that.

  tradewind render k8s --secrets k8s/{OVERLAY}/{SECRETS_FOLDER}
  kubectl apply -k k8s/{OVERLAY}"""


def dev_files(rooms: Sequence[str]) -> dict[str, str]:
    """Path below k8s/ -> text, of the overlay."""
    services = [room for room in rooms if room != CONTROL_PLANE]
    resources: dict[str, list[Manifest]] = {
        "postgres.yaml": _postgres(),
        "valkey.yaml": _valkey(),
        "mailpit.yaml": _mailpit(),
        "psp-sandbox.yaml": _sandbox(),
    }
    return {
        f"{OVERLAY}/kustomization.yaml": documents(_SAID, [_kustomization(list(resources), services, rooms)]),
        **{f"{OVERLAY}/{name}": documents(_SAID.splitlines()[0], value) for name, value in resources.items()},
    }


def _kustomization(resources: Sequence[str], services: Sequence[str], rooms: Sequence[str]) -> Manifest:
    files = [f"{SECRETS_FOLDER}/{name}" for name in secret_names(containers.every_container(rooms))]
    migrate = containers.provision(services)
    job = pod(migrate, TASK)["spec"]
    provision = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": job_name(migrate)},
        "spec": {
            "template": {
                "spec": {
                    "containers": [{name: job["containers"][0][name] for name in ("name", "args", "env")}],
                    "volumes": [volume for volume in job["volumes"] if volume["name"] == "secrets"],
                }
            }
        },
    }
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": NAMESPACE,
        "resources": ["../../base", *resources],
        "configMapGenerator": [
            {"name": SETTINGS, "behavior": "merge", "literals": ["TRADEWIND_ENV=dev", "PSP_SANDBOX_PUBLIC_URL="]}
        ],
        "secretGenerator": [{"name": SECRET, "files": files}],
        # Here the Job makes the databases and roles too.
        "patches": [{"patch": dump(provision)}],
    }


def _postgres() -> list[Manifest]:
    name, data = "postgres", "/var/lib/postgresql"
    container = {
        "name": name,
        "image": compose.POSTGRES_IMAGE,
        "args": list(compose.POSTGRES_COMMAND),
        "env": [{"name": "POSTGRES_PASSWORD_FILE", "value": f"{SECRETS_AT}/postgres_password"}],
        "ports": [{"name": name, "containerPort": 5432}],
        "readinessProbe": {
            "exec": {"command": Line(["pg_isready", "--host=127.0.0.1", "--username=postgres"])},
            "periodSeconds": 2,
        },
    }
    folders = {"data": data, "tmp": "/tmp", "run": "/var/run/postgresql"}  # noqa: S108
    return [
        account(name, STAND_IN),
        _stateful(name, container, ["postgres_password"], folders, claim="2Gi", memory_mb=1024),
        _service(name, 5432),
        opened("to-postgres", name, 5432, [ROOM, TASK]),
    ]


def _valkey() -> list[Manifest]:
    name = "valkey"
    program, _, *options = compose.VALKEY_COMMAND
    container = {
        "name": name,
        "image": compose.VALKEY_IMAGE,
        "args": [program, f"{SECRETS_AT}/valkey_conf", *options],
        "ports": [{"name": name, "containerPort": 6379}],
        "readinessProbe": {"tcpSocket": {"port": name}, "periodSeconds": 2},
    }
    return [
        account(name, STAND_IN),
        _stateful(name, container, ["valkey_conf"], {"data": "/data"}, claim="", memory_mb=256),
        _service(name, 6379),
        opened("to-valkey", name, 6379, [ROOM]),
    ]


def _mailpit() -> list[Manifest]:
    name = "mailpit"
    container = {
        "name": name,
        "image": compose.MAILPIT_IMAGE,
        "ports": [{"name": "smtp", "containerPort": 1025}, {"name": "http", "containerPort": 8025}],
        "readinessProbe": {"tcpSocket": {"port": "smtp"}, "periodSeconds": 2},
    }
    return [
        account(name, STAND_IN),
        _stateful(name, container, [], {"tmp": "/tmp"}, claim="", memory_mb=128),  # noqa: S108
        _service(name, 1025),
        opened("to-mailpit", name, 1025, [ROOM]),
    ]


def _sandbox() -> list[Manifest]:
    container = containers.sandbox()
    alive = {"httpGet": {"path": "/livez", "port": "http"}, "periodSeconds": 2}
    template = pod(
        container, STAND_IN, ports={"http": HTTP_PORT}, probes={"readinessProbe": alive}, mounts={STATE: STATE_FOLDER}
    )
    main = template["spec"]["containers"][0]
    main["command"] = main.pop("args")
    return [
        account(SANDBOX, STAND_IN),
        manifest(
            "apps/v1", "StatefulSet", SANDBOX, STAND_IN,
            spec={
                "serviceName": SANDBOX,
                "replicas": 1,
                "selector": {"matchLabels": selector(SANDBOX)},
                "template": template,
                "volumeClaimTemplates": [volume_claim(STATE, "100Mi")],
            },
        ),
        _service(SANDBOX, HTTP_PORT),
        opened("to-psp-sandbox", SANDBOX, HTTP_PORT, [ROOM, TASK]),
    ]  # fmt: skip


def _stateful(
    name: str, container: Manifest, secrets: Sequence[str], folders: Mapping[str, str], *, claim: str, memory_mb: int
) -> Manifest:
    """One pod of somebody else's image; with a `claim`, its folder `data` outlives the pod."""
    mounts = [{"name": volume, "mountPath": folder} for volume, folder in folders.items()]
    volumes: list[dict[str, Any]] = [
        {"name": volume, "emptyDir": {}} for volume in folders if not (claim and volume == "data")
    ]
    if secrets:
        mounts.append({"name": "secrets", "mountPath": SECRETS_AT, "readOnly": True})  # type: ignore[dict-item]
        volumes.append({"name": "secrets", "secret": secret_volume(secrets)})
    spec = {
        "serviceAccountName": name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": nobody(ENGINE_USER_ID),
        "containers": [
            {
                **container,
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": f"{memory_mb}Mi"}},
                "securityContext": powerless(),
                "volumeMounts": mounts,
            }
        ],
        "volumes": volumes,
    }
    claims = {"volumeClaimTemplates": [volume_claim("data", claim)]} if claim else {}
    return manifest(
        "apps/v1", "StatefulSet", name, STAND_IN,
        spec={
            "serviceName": name,
            "replicas": 1,
            "selector": {"matchLabels": selector(name)},
            "template": {"metadata": {"labels": labels(name, STAND_IN)}, "spec": spec},
            **claims,
        },
    )  # fmt: skip


def _service(name: str, port: int) -> Manifest:
    return manifest(
        "v1",
        "Service",
        name,
        STAND_IN,
        spec={"selector": selector(name), "ports": [{"port": port, "targetPort": port}]},
    )
