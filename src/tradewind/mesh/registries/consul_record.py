"""What stands in Consul of an instance: a service with checks, and beside it, under its digest, what it serves.

Routes and OpenAPI document are too long for a service's meta data (512 characters a value), and the same for all instances
of a release: they are one key, `tradewind/descriptions/SERVICE/DIGEST`, compressed, and the meta data name the digest.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from typing import Any

import msgspec

from tradewind.chassis.proof import is_proof, proof
from tradewind.mesh.description import DeclaredRoute, Instance, Registration
from tradewind.mesh.routes import template_faults

TAG = "tradewind"
PREFIX = "tradewind/descriptions/"
TTL_S = 10.0
PROBE_EVERY_S = 2.0
PROBE_TIMEOUT_S = 1.0
FORGET_AFTER = "1m"
"""How long a dead instance is listed as critical; Consul allows no less."""
MAX_DESCRIPTION_BYTES = 4 * 1024 * 1024


class RecordWrong(Exception):
    """An entry that no room of this platform made, or that contradicts itself; it gets no requests."""


class Described(msgspec.Struct, frozen=True):
    """What the instances of a release have in common."""

    routes: tuple[DeclaredRoute, ...] = ()
    openapi: dict[str, Any] = {}


class Service(msgspec.Struct, rename={"id": "ID", "service": "Service", "tags": "Tags", "address": "Address", "port": "Port", "meta": "Meta"}):  # fmt: skip
    """`Service` in an answer of `/v1/health/service`."""

    id: str
    service: str
    address: str
    port: int
    tags: list[str] | None = None
    meta: dict[str, str] | None = None


class Check(msgspec.Struct, rename="pascal"):
    """One check of an instance, or of the machine it is on."""

    status: str


class Entry(msgspec.Struct, rename="pascal"):
    """One element of an answer of `/v1/health/service`."""

    service: Service
    checks: list[Check]

    @property
    def passes(self) -> bool:
        """Whether nothing is wrong with the instance nor with its machine."""
        return all(check.status == "passing" for check in self.checks)


def description_of(registration: Registration) -> tuple[str, bytes]:
    """Digest and content of what `registration` serves, the content compressed."""
    plain = msgspec.json.encode(Described(registration.routes, registration.openapi))
    return hashlib.sha256(plain).hexdigest(), zlib.compress(plain, 9)


def read_description(digest: str, content: bytes) -> Described:
    """What `description_of` made.

    Raises:
        RecordWrong: it is not what the digest names.
    """
    opener = zlib.decompressobj()
    try:
        plain = opener.decompress(content, MAX_DESCRIPTION_BYTES)
    except zlib.error as exc:
        raise RecordWrong(f"the description {digest[:12]} is not readable: {exc}") from exc
    if hashlib.sha256(plain).hexdigest() != digest:
        raise RecordWrong(f"the description {digest[:12]} is not what its name says")
    try:
        described = msgspec.json.decode(plain, type=Described)
    except msgspec.MsgspecError as exc:
        raise RecordWrong(f"the description {digest[:12]} is none: {exc}") from exc
    if faults := template_faults(described.routes):
        raise RecordWrong("; ".join(faults))
    return described


def record_of(registration: Registration, digest: str, token: str) -> dict[str, Any]:
    """The body of `PUT /v1/agent/service/register`."""
    name, address = registration.instance, registration.address
    host = f"[{address}]" if ":" in address else address
    meta = {
        "room": registration.room,
        "management_port": str(registration.management_port),
        "version": registration.version,
        "description": digest,
    }
    return {
        "ID": name,
        "Name": registration.service,
        "Tags": [TAG],
        "Address": address,
        "Port": registration.port,
        "Meta": {
            **meta,
            "proof": proof(token, *_words(name, registration.service, address, registration.port, meta)),
        },
        # Passing from the start: who registers, serves.
        "Checks": [
            {
                "CheckID": ttl_check(name),
                "Name": "heartbeat",
                "TTL": f"{TTL_S:.0f}s",
                "Status": "passing",
                "DeregisterCriticalServiceAfter": FORGET_AFTER,
            },
            {
                "CheckID": f"livez:{name}",
                "Name": "livez",
                "HTTP": f"http://{host}:{registration.management_port}/livez",
                "Interval": f"{PROBE_EVERY_S:.0f}s",
                "Timeout": f"{PROBE_TIMEOUT_S:.0f}s",
                "Status": "passing",
            },
        ],
    }


def ttl_check(instance: str) -> str:
    """The id of the check that heartbeats keep passing."""
    return f"heartbeat:{instance}"


def digest_in(service: Service) -> str:
    """The digest of what `service` serves."""
    return (service.meta or {}).get("description", "")


def require_genuine(service: Service, token: str) -> None:
    """Raise RecordWrong unless the owner of `token` wrote every word of `service`."""
    meta = service.meta or {}
    words = _words(service.id, service.service, service.address, service.port, meta)
    if not is_proof(meta.get("proof", ""), token, *words):
        raise RecordWrong(f"{service.id} of {service.service} is not signed by its room")


def instance_in(service: Service, described: Described) -> Instance:
    """The instance that `service` stands for.

    Raises:
        RecordWrong: it contradicts the rules for names, addresses or ports.
    """
    meta = service.meta or {}
    try:
        instance = msgspec.convert(
            {
                "service": service.service,
                "room": meta.get("room", ""),
                "instance": service.id,
                "address": service.address,
                "port": service.port,
                "management_port": int(meta.get("management_port", "0")),
                "version": meta.get("version", ""),
            },
            type=Instance,
        )
    except ValueError as exc:
        raise RecordWrong(f"{service.id}: {exc}") from exc
    if faults := instance.faults():
        raise RecordWrong("; ".join(faults))
    return msgspec.structs.replace(instance, routes=described.routes)


def _words(name: str, service: str, address: str, port: int, meta: Mapping[str, str]) -> tuple[str, ...]:
    kept = (meta.get(key, "") for key in ("room", "management_port", "version", "description"))
    return (name, service, address, str(port), *kept)
