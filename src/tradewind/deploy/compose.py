"""docker-compose.yml: the engines, the control plane with its Envoy, the rooms, and in dev what stands in for the world.

Only the public edge has a port on the host. Networks keep apart who need not meet: `data` has the engines, `mesh` the
rooms and the control plane, `edge` leads outside; the first two lead nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tradewind.deploy import containers
from tradewind.deploy.containers import Container
from tradewind.deploy.environment import EDGE_PORT, GATEWAY, SANDBOX, STATE_FOLDER, Adjustable
from tradewind.deploy.secret_files import secret_names
from tradewind.deploy.yaml_text import Line, comment, dump, indented
from tradewind.stack.kafka.jars import VERSION as KAFKA_VERSION
from tradewind.stack.rooms import CONTROL_PLANE

SECRETS_AT = "/run/secrets"
DEV = "dev"
"""The profile of what stands in for the world."""

KAFKA = "kafka"
"""The profile of a broker, for whoever wants the events there."""

POSTGRES_IMAGE = "postgres:18"
VALKEY_IMAGE = "valkey/valkey:9"
KAFKA_IMAGE = f"apache/kafka:{KAFKA_VERSION}"
MAILPIT_IMAGE = "axllent/mailpit:v1.27"

POSTGRES_COMMAND = (
    "postgres",
    "--max_connections=300",
    "--idle_in_transaction_session_timeout=10s",
    "--shared_preload_libraries=pg_stat_statements",
)
VALKEY_COMMAND = (
    *("valkey-server", f"{SECRETS_AT}/valkey_conf"),
    *("--maxmemory", "128mb", "--maxmemory-policy", "allkeys-lru", "--save", ""),
)

_HEADER = """\
The whole platform in containers. Written by `tradewind render compose --write .`, and a test holds it to that.

  export TRADEWIND_ENV=dev COMPOSE_PROFILES=dev
  tradewind render compose --secrets secrets       passwords and keys, made once, a file each
  docker compose up --build --detach --wait
  curl http://localhost:8080/v1/products
  docker compose up --detach --scale order-service=3

`dev` adds a payment provider's stand-in and a mailbox, `kafka` a broker for the events (docs/operating/kafka.md).
More in docs/operating/deploy.md."""

_NETWORKS = """\
networks:
  # The door, and the world outside.
  edge:
  # The rooms and the control plane.
  mesh: { internal: true }
  # The engines.
  data: { internal: true }
"""

_SERVICE = {
    "image": f"${{TRADEWIND_IMAGE:-{containers.IMAGE}:{containers.image_version()}}}",
    "build": ".",
    "restart": "unless-stopped",
    "read_only": True,
    "tmpfs": Line(["/tmp"]),  # noqa: S108
    "cap_drop": Line(["ALL"]),
    "security_opt": Line(["no-new-privileges:true"]),
    "stop_grace_period": f"{containers.STOP_GRACE_S}s",
}
"""What all containers of our image have in common."""

_HEALTHY: Mapping[str, Any] = {"condition": "service_healthy"}
_DONE: Mapping[str, Any] = {"condition": "service_completed_successfully"}

_TALKS_TO_THE_WORLD = ("payment", "notification")
"""Rooms that call somebody outside."""


def compose_file(rooms: Sequence[str]) -> str:
    """The text of docker-compose.yml for `rooms`, the control plane among them."""
    every = containers.every_container(rooms)
    services = [container for container in every if container.room and container.room != CONTROL_PLANE]
    audit = containers.audit([service.room for service in services])
    shared = _shared_environment(services)
    gateway, migrate, sandbox = containers.gateway(), every[0], containers.sandbox()
    blocks = [
        _block("postgres", _postgres(), "A database a room, and one for the event bus; `migrate` makes them."),
        _block("valkey", _valkey(), "The cache. Without it everything works, slower."),
        _block(
            "kafka",
            _kafka(),
            "Carries the events where secrets/bus_url says kafka://kafka:9092; else it is not started.",
        ),
        _block("migrate", _migrate(migrate), "Databases, roles and migrations; then it is done."),
        _block(
            gateway.name,
            _gateway(gateway),
            "Control plane and Envoy. 8080 is the public door, the only one; through 8081 services call each other;\n"
            "8082 is registry and xDS, 8000 keys and documentation, 9000 probes and metrics.",
        ),
        *(_block(service.name, _room(service, shared)) for service in services),
        _block(
            audit.name,
            _audit(audit),
            "Holds all books against each other: `docker compose run --rm audit`, by a timer.",
        ),
        _block(sandbox.name, _sandbox(sandbox), "Behaves like a payment provider and moves no money: dev only."),
        _block("mailpit", _mailpit(), "Catches all mail: dev only."),
    ]
    every = [*every, audit]
    volumes = ["postgres", "kafka", *(container.name for container in every if container.keeps_state)]
    return "\n".join(
        [
            comment(_HEADER) + dump({"name": "tradewind"}),
            "x-service: &service\n" + indented(dump(_SERVICE)),
            "x-room: &room\n" + indented(dump({"<<": "*service", **_of_every_room()})),
            "x-environment: &environment\n" + indented(dump(shared)),
            "services:\n" + "\n".join(blocks),
            _NETWORKS,
            "volumes:\n" + "".join(f"  {name}:\n" for name in volumes),
            "secrets:\n" + "".join(_secret(name) for name in secret_names(every)),
        ]
    )


def _block(name: str, service: Mapping[str, Any], said: str = "") -> str:
    return indented((comment(said) if said else "") + f"{name}:\n" + indented(dump(service)))


def _secret(name: str) -> str:
    return f'  {name}: {{ file: "${{TRADEWIND_SECRETS:-./secrets}}/{name}" }}\n'


def _environment(container: Container) -> dict[str, str]:
    return {
        name: f"${{{name}:-{value.default}}}" if isinstance(value, Adjustable) else value
        for name, value in container.environment.mounted(SECRETS_AT).items()
    }


def _shared_environment(services: Sequence[Container]) -> dict[str, str]:
    """What all services read alike."""
    first, *others = [_environment(service) for service in services]
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}


def _of_every_room() -> dict[str, Any]:
    return {
        "networks": Line(["mesh", "data"]),
        "depends_on": {"migrate": _DONE, "valkey": _HEALTHY, GATEWAY: _HEALTHY},
        "deploy": _limits(containers.ROOM_MEMORY_MB),
    }


def _room(container: Container, shared: Mapping[str, str]) -> dict[str, Any]:
    own = {name: value for name, value in _environment(container).items() if name not in shared}
    service: dict[str, Any] = {
        "<<": "*room",
        "command": Line(container.command),
        "environment": {"<<": "*environment", **own},
        "secrets": container.environment.secret_names,
    }
    if container.room in _TALKS_TO_THE_WORLD:
        service["networks"] = Line(["mesh", "data", "edge"])
    if container.room == "payment":
        # Outside of dev there is no stand-in, and payment is to start all the same.
        waits = {**_of_every_room()["depends_on"], SANDBOX: {**_HEALTHY, "required": False}}
        service["depends_on"] = waits
    return service


def _gateway(container: Container) -> dict[str, Any]:
    return {
        "<<": "*service",
        "command": Line(container.command),
        "ports": [f"${{TRADEWIND_PORT:-{EDGE_PORT}}}:{EDGE_PORT}"],
        "environment": _environment(container),
        "secrets": container.environment.secret_names,
        "volumes": [f"{container.name}:{STATE_FOLDER}"],
        "healthcheck": {"test": ["CMD", *containers.GATEWAY_PROBE]},
        "networks": Line(["edge", "mesh"]),
        "deploy": _limits(container.memory_mb),
    }


def _migrate(container: Container) -> dict[str, Any]:
    return {
        "<<": "*service",
        "command": Line(container.command),
        "restart": "on-failure:3",
        "environment": _environment(container),
        "secrets": container.environment.secret_names,
        "healthcheck": {"disable": True},
        "networks": Line(["data"]),
        "depends_on": {"postgres": _HEALTHY},
        "deploy": _limits(container.memory_mb),
    }


def _audit(container: Container) -> dict[str, Any]:
    return {
        "<<": "*service",
        "profiles": Line([container.name]),
        "command": Line(container.command),
        "restart": "no",
        "environment": _environment(container),
        "secrets": container.environment.secret_names,
        "healthcheck": {"disable": True},
        # The provider is outside.
        "networks": Line(["data", "edge"]),
        "deploy": _limits(container.memory_mb),
    }


def _sandbox(container: Container) -> dict[str, Any]:
    return {
        "<<": "*service",
        "profiles": Line([DEV]),
        "entrypoint": Line(container.command),
        "environment": _environment(container),
        "secrets": container.environment.secret_names,
        "volumes": [f"{container.name}:{STATE_FOLDER}"],
        "healthcheck": {"test": ["CMD", *containers.SANDBOX_PROBE]},
        "networks": Line(["edge"]),
        "deploy": _limits(container.memory_mb),
    }


def _postgres() -> dict[str, Any]:
    return {
        "image": POSTGRES_IMAGE,
        "restart": "unless-stopped",
        "command": list(POSTGRES_COMMAND),
        "environment": {"POSTGRES_PASSWORD_FILE": f"{SECRETS_AT}/postgres_password"},
        "secrets": ["postgres_password"],
        "volumes": ["postgres:/var/lib/postgresql"],
        # By TCP: while the image prepares a new data folder, its server answers on the socket only.
        "healthcheck": _check("CMD", "pg_isready", "--host=127.0.0.1", "--username=postgres"),
        "shm_size": "256m",
        "stop_grace_period": "60s",
        "networks": Line(["data"]),
        "deploy": _limits(1024),
    }


def _valkey() -> dict[str, Any]:
    ask = f'VALKEYCLI_AUTH="$$(cat {SECRETS_AT}/valkey_password)" valkey-cli ping | grep -q PONG'
    return {
        "image": VALKEY_IMAGE,
        "restart": "unless-stopped",
        "command": list(VALKEY_COMMAND),
        "secrets": ["valkey_conf", "valkey_password"],
        "healthcheck": _check("CMD-SHELL", ask),
        "networks": Line(["data"]),
        "deploy": _limits(256),
    }


def _kafka() -> dict[str, Any]:
    ask = "/opt/kafka/bin/kafka-broker-api-versions.sh"
    return {
        "image": KAFKA_IMAGE,
        "profiles": Line([KAFKA]),
        "restart": "unless-stopped",
        "environment": {
            "KAFKA_NODE_ID": "1",
            "KAFKA_PROCESS_ROLES": "broker,controller",
            "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@kafka:9093",
            "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
            "KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
            "KAFKA_ADVERTISED_LISTENERS": "PLAINTEXT://kafka:9092",
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "KAFKA_LOG_DIRS": "/var/lib/kafka/data",
            "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
            # One broker has nobody to copy to: what it acknowledges is on its disk.
            "KAFKA_LOG_FLUSH_INTERVAL_MESSAGES": "1",
            "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
            "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
            "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
            "KAFKA_HEAP_OPTS": "-Xmx512m",
        },
        "volumes": ["kafka:/var/lib/kafka/data"],
        "healthcheck": {
            "test": Line(["CMD", ask, "--bootstrap-server", "localhost:9092"]),
            "interval": "10s",
            "timeout": "10s",
            "retries": 12,
            "start_period": "30s",
        },
        "stop_grace_period": "30s",
        "networks": Line(["data"]),
        "deploy": _limits(1024),
    }


def _mailpit() -> dict[str, Any]:
    return {
        "image": MAILPIT_IMAGE,
        "profiles": Line([DEV]),
        "restart": "unless-stopped",
        "networks": Line(["edge"]),
        "deploy": _limits(128),
    }


def _check(*test: str) -> dict[str, Any]:
    return {"test": Line(test), "interval": "2s", "timeout": "3s", "retries": 30}


def _limits(memory_mb: int) -> dict[str, Any]:
    return {"resources": {"limits": {"memory": f"{memory_mb}M"}}}
