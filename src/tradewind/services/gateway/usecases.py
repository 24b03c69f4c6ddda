"""What the gateway can do. All but the first three are for the control port only."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import msgspec

from tradewind.chassis.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated, Unavailable
from tradewind.chassis.logs import get_logger
from tradewind.mesh.addresses import AddressUnknown, reachable_address
from tradewind.mesh.bootstrap import GATEWAY_SERVICE
from tradewind.mesh.ca import Issued, RequestRefused
from tradewind.mesh.description import Instance, Lease, Registration
from tradewind.mesh.discovery import Standing
from tradewind.mesh.envoy_admin import EnvoyAway
from tradewind.mesh.identity import PROXY, spiffe_id
from tradewind.mesh.registries.local import LeaseUnknown, LocalRegistry, RegistryFull
from tradewind.mesh.routes import template_faults
from tradewind.mesh.xds import Kind, Poll
from tradewind.services.gateway.data_plane import described_routes
from tradewind.services.gateway.domain import merge_openapi, usable_key_set
from tradewind.services.gateway.parts import Parts
from tradewind.services.gateway.policy import policy_view
from tradewind.services.gateway.shared_limits import shared_limits_view

AUTH_SERVICE = "auth-service"
ROOMS = ("gateway", "auth", "user", "order", "payment", "notification", "analytics")
ACCEPTED_WITHIN_S = 2.0
TOKEN_DIGITS = 64

_log = get_logger(__name__)


def public_document(parts: Parts) -> dict[str, Any]:
    """The OpenAPI document of all services, those that are down included."""
    known = sorted(parts.registry.services().values(), key=lambda service: service.since)
    documents = {GATEWAY_SERVICE: parts.own_document, **{service.service: service.openapi for service in known}}
    return merge_openapi(documents, version=importlib.metadata.version("tradewind"))


def key_set(parts: Parts) -> dict[str, Any]:
    """The platform's public keys, as last known.

    Raises:
        Unavailable: 503 `keys-unavailable`, when auth-service has never been reached.
    """
    keys = parts.keys.key_set
    if keys is None:
        raise Unavailable("keys-unavailable", "The public keys are not known yet.", retry_after_s=1)
    return keys


async def refresh_key_set(parts: Parts) -> None:
    """Ask auth-service for its keys; the first instance with a usable answer settles it.

    Raises:
        Unavailable: no instance gave one. What we have stays.
    """
    known = parts.registry.services().get(AUTH_SERVICE)
    refused = ""
    for instance in known.instances if known else ():
        try:
            usable = usable_key_set(await parts.key_source.fetch(instance))
        except Unavailable as exc:
            refused = f"{instance.instance}: {exc.detail}"
            continue
        if usable is not None:
            if parts.keys.save(usable):
                _log.info("new public keys", kids=[key["kid"] for key in usable["keys"]])
            return
        refused = f"{instance.instance} serves no usable key set"
    if refused:
        raise Unavailable("keys-unavailable", refused)


async def register_instance(parts: Parts, token: str, registration: Registration, *, peer: str) -> Lease:
    """Take in an instance that calls from `peer`. Returns once the connected Envoys send it requests, or after 2 s.

    Raises:
        Unauthenticated: there is no room token.
        Forbidden: the token is not that of the room that is to be registered, or a name is not the room's own.
        Invalid: a path template is none, or the address does not resolve.
        Unavailable: the registry is full.
        Conflict: 409 `registry-elsewhere`; instances of this platform register with another registry.
    """
    registry = _leases(parts)
    _require_room(parts, token, registration.room)
    if faults := registration.faults():
        raise Forbidden("name-not-yours", "; ".join(faults) + ".")
    if faults := template_faults(registration.routes):
        raise Invalid("path-template-invalid", "; ".join(faults) + ".")
    try:
        address = await reachable_address(registration.address, peer)
    except AddressUnknown as exc:
        raise Invalid("address-unknown", f"{exc}.") from exc
    try:
        lease = registry.register(msgspec.structs.replace(registration, address=address))
    except RegistryFull as exc:
        raise Unavailable("registry-full", f"{exc}.") from exc
    _log.info("registered", instance_name=registration.instance, address=address, port=registration.port)
    if not await parts.xds.wait_until_accepted(registration.service, ACCEPTED_WITHIN_S):
        _log.warning("an envoy has not accepted a new instance", instance_name=registration.instance)
    return lease


def renew_lease(parts: Parts, token: str, name: str, lease_id: str) -> None:
    """Keep an instance alive for another term.

    Raises:
        NotFound: 404 `lease-unknown`; register again.
        Unauthenticated, Forbidden: as for `register_instance`.
    """
    registry = _leases(parts)
    instance = registry.find(name)
    try:
        if instance is None:
            _require_any_room(parts, token)
            raise LeaseUnknown(name)
        _require_room(parts, token, instance.room)
        registry.renew(name, lease_id)
    except LeaseUnknown as exc:
        raise NotFound("lease-unknown", "This lease has ended; register again.") from exc


async def deregister_instance(parts: Parts, token: str, name: str) -> None:
    """Forget an instance. Returns once no connected Envoy sends it requests any more, or after 2 s.

    Raises:
        NotFound: 404 `instance-unknown`.
        Unauthenticated, Forbidden: as for `register_instance`.
    """
    registry = _leases(parts)
    instance = registry.find(name)
    if instance is None:
        _require_any_room(parts, token)
        raise NotFound("instance-unknown", f"There is no instance {name}.")
    _require_room(parts, token, instance.room)
    registry.deregister(name)
    _log.info("deregistered", instance_name=name)
    if not await parts.xds.wait_until_accepted(instance.service, ACCEPTED_WITHIN_S):
        _log.warning("an envoy may still send requests to a leaving instance", instance_name=name)


def issue_certificate(parts: Parts, token: str, room: str, request: bytes) -> Issued:
    """A certificate of `room`, whose token this is, for the key in `request` (PEM, PKCS #10).

    Raises:
        Unauthenticated: there is no room token.
        Forbidden: the token is not that of `room`, or the name is the proxy's.
        NotFound: 404 `mtls-off`, this mesh has no certificates.
        Invalid: `signing-request-invalid`.
    """
    _require_room(parts, token, room)
    if room == PROXY:
        raise Forbidden("name-not-yours", f"{PROXY} is the proxy; no room can have its name.")
    if parts.authority is None:
        raise NotFound("mtls-off", "MESH_MTLS is off; set it to strict for the gateway as well.")
    try:
        issued = parts.authority.issue(request, room)
    except RequestRefused as exc:
        raise Invalid("signing-request-invalid", f"{exc}.") from exc
    _log.info("certificate issued", spiffe_id=spiffe_id(room), lifetime_s=issued.lifetime_s)
    return issued


def list_instances(parts: Parts, token: str) -> list[Instance]:
    """All instances.

    Raises:
        Unauthenticated, Forbidden: the token is no known room's.
    """
    _require_any_room(parts, token)
    return parts.registry.instances()


async def next_resources(parts: Parts, kind: Kind, poll: Poll) -> bytes | None:
    """What an Envoy is to run next, once that differs from what it runs; None when its poll's time is up."""
    return await parts.xds.poll(kind, poll)


async def observe_envoy(parts: Parts) -> None:
    """Read Envoy's own figures, for the status and for the metrics."""
    try:
        stats = await parts.envoy.stats()
    except EnvoyAway:
        parts.view.stats, parts.view.live = None, False
    else:
        parts.view.stats, parts.view.live = stats, await parts.envoy.is_live()
    parts.figures.note(
        instances=len(parts.registry.instances()),
        conflicts=len(parts.control_plane.table.conflicts),
        standings=parts.xds.standings(),
        stats=parts.view.stats,
        live=parts.view.live,
    )


def registry_standing(parts: Parts) -> Standing:
    """Which registry is in use, and whether it answers."""
    return parts.registry.standing()


def mesh_status(parts: Parts) -> dict[str, Any]:
    """What is loaded, by whom, and whether it was accepted."""
    standings = parts.xds.standings()
    services = parts.registry.services()
    stats = parts.view.stats
    clusters = stats.clusters() if stats else {}
    connected = [standing for standing in standings if standing.connected]
    return {
        "accepted": bool(connected) and all(standing.accepted == standing.current for standing in connected),
        "registry": parts.registry.standing(),
        "envoys": [
            {"node": node, "subscriptions": [standing for standing in connected if standing.node == node]}
            for node in parts.xds.nodes()
        ],
        "envoy": {
            "live": parts.view.live,
            "refused_updates": stats.refused_updates if stats else {},
            "edge": stats.listener("edge") if stats else {},
            "egress": stats.listener("egress") if stats else {},
        },
        "services": [
            {
                "service": known.service,
                "instances": [
                    {**msgspec.structs.asdict(instance), "routes": len(instance.routes)} for instance in known.instances
                ],
                "policy": parts.control_plane.policies.service(known.service),
                "figures": clusters.get(known.service, {}),
            }
            for known in sorted(services.values(), key=lambda known: known.service)
        ],
        "routes": [route for _, route in described_routes(parts)],
        "interventions": parts.interventions.running(),
        "conflicts": parts.control_plane.table.conflicts,
        "policy": policy_view(parts),
        "rate_limits": parts.control_plane.limits,
        "shared_limits": shared_limits_view(parts),
    }


def _leases(parts: Parts) -> LocalRegistry:
    """The registry that instances announce themselves to here; there is none where another one keeps them."""
    if not isinstance(parts.registry, LocalRegistry):
        kind = parts.registry.standing().kind
        raise Conflict(
            "registry-elsewhere", f"Instances of this platform are known from {kind}; set REGISTRY_URL alike."
        )
    return parts.registry


def _require_room(parts: Parts, token: str, room: str) -> None:
    _require_token(token)
    if not parts.identities.is_token_of(token, room):
        raise Forbidden("room-not-yours", f"This is not the token of room {room}.")


def _require_any_room(parts: Parts, token: str) -> None:
    """Only rooms are answered.

    Raises:
        Unauthenticated, Forbidden: it is no known room's.
    """
    _require_token(token)
    rooms = {*ROOMS, *(service.removesuffix("-service") for service in parts.registry.services())}
    if parts.identities.room_of(token, sorted(rooms)) is None:
        raise Forbidden("room-unknown", "This is not the token of any room.")


def require_proxy(parts: Parts, token: str) -> None:
    """Only Envoy is told what Envoy is to run.

    Raises:
        Unauthenticated, Forbidden: the token is not the proxy's.
    """
    _require_token(token)
    if not parts.identities.is_proxy(token):
        raise Forbidden("not-the-proxy", "This is not the token of the proxy.")


def require_reader(parts: Parts, token: str) -> None:
    """The status of the mesh is for the operator and for rooms.

    Raises:
        Unauthenticated, Forbidden: the token is neither's.
    """
    _require_token(token)
    if not parts.identities.is_operator(token):
        _require_any_room(parts, token)


def _require_token(token: str) -> None:
    if len(token) != TOKEN_DIGITS or not token.isascii():
        raise Unauthenticated("room-token-missing", "Send Authorization: Bearer <room token>.")
