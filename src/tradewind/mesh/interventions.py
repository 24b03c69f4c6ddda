"""What an operator does to traffic for a while: faults, a canary, shadow traffic, maintenance.

A table of its own, on top of the policies and of what services declare. Each entry ends by itself: an intervention that
somebody forgot is an outage with a date. How Envoy is told is in `intervening.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, TypeAlias

import msgspec

from tradewind.mesh.description import DeclaredRoute

MAX_INTERVENTIONS = 64
LONGEST_S = 24 * 3600.0
HEADER = "x-tradewind-intervention"
"""On every answer of a route under an intervention: which kinds. Nobody outside can send it, the edge strips `x-tradewind-*`."""

Percent = Annotated[int, msgspec.Meta(ge=1, le=100)]
Service = Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9]{0,30}-service$")]
Version = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[0-9A-Za-z][0-9A-Za-z._+-]*$")]
HeaderName = Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9-]{0,62}$")]
Operation = Annotated[str, msgspec.Meta(pattern="^(GET|POST|PUT|PATCH|DELETE) /.{0,510}$")]


class Fault(msgspec.Struct, frozen=True, kw_only=True, tag="fault"):
    """`percent` of the requests to one operation (`GET /v1/orders/{id}`) wait `delay_ms`, or are answered `abort_status`."""

    operation: Operation
    percent: Percent = 100
    delay_ms: Annotated[int, msgspec.Meta(ge=0, le=60_000)] = 0
    abort_status: Annotated[int, msgspec.Meta(ge=0, le=599)] = 0


class Canary(msgspec.Struct, frozen=True, kw_only=True, tag="canary"):
    """A share of a service's requests from outside goes to its instances of `version`; all others to none of them.

    `percent` of all (0: none), and those that carry `header` with any value, or with `header_value`.
    """

    service: Service
    version: Version
    percent: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0
    header: HeaderName | None = None
    header_value: Annotated[str, msgspec.Meta(max_length=128)] = ""


class Shadow(msgspec.Struct, frozen=True, kw_only=True, tag="shadow"):
    """`percent` of a service's GETs are sent to its instances of `version` too, whose answers are thrown away."""

    service: Service
    version: Version
    percent: Percent = 100


class Maintenance(msgspec.Struct, frozen=True, kw_only=True, tag="maintenance"):
    """`service`, or with None every service, answers 503 `maintenance` to all but administrators."""

    service: Service | None = None
    retry_after_s: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 60


Kind: TypeAlias = Fault | Canary | Shadow | Maintenance
KINDS = ("fault", "canary", "shadow", "maintenance")


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /v1/interventions`: what, and for how long. `reason` is for whoever finds it."""

    what: Kind
    for_s: Annotated[float, msgspec.Meta(gt=0, le=LONGEST_S)]
    reason: Annotated[str, msgspec.Meta(max_length=200)] = ""


class Intervention(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the table. Times are seconds since the epoch, since they outlast the process."""

    id: str
    what: Kind
    set_by: str
    set_at: float
    expires_at: float
    reason: str = ""

    @property
    def kind(self) -> str:
        """`fault`, `canary`, `shadow` or `maintenance`."""
        return kind_of(self.what)


def kind_of(what: Kind) -> str:
    """The name of a kind, as on the command line and in metrics."""
    return str(what.__struct_config__.tag)


def target_of(what: Kind) -> str:
    """What it is done to: an operation, a service, or `every service`."""
    if isinstance(what, Fault):
        return what.operation
    return what.service or "every service"


def described(what: Kind) -> str:
    """One line for people."""
    match what:
        case Fault():
            parts = [f"{what.delay_ms} ms later"] if what.delay_ms else []
            parts += [f"answered {what.abort_status}"] if what.abort_status else []
            return f"{what.percent} % {' and '.join(parts)}"
        case Canary():
            parts = [f"{what.percent} %"] if what.percent else []
            if what.header:
                parts.append(f"with {what.header}" + (f": {what.header_value}" if what.header_value else ""))
            return f"{' and '.join(parts)} to version {what.version}"
        case Shadow():
            return f"{what.percent} % of GETs also to version {what.version}"
        case Maintenance():
            return f"503, Retry-After: {what.retry_after_s}"


def faults_of(what: Kind, routes: Mapping[str, Iterable[DeclaredRoute]]) -> list[str]:
    """Why `what` would do nothing, or not what is meant; empty when it is sound. `routes` are the services' by name."""
    operations = {
        f"{method} {route.path}" for declared in routes.values() for route in declared for method in route.methods
    }
    found = []
    match what:
        case Fault():
            if what.operation not in operations:
                found.append(f"no service serves {what.operation}")
            if not what.delay_ms and not what.abort_status:
                found.append("a fault needs a delay, a status to abort with, or both")
            if what.abort_status and what.abort_status < 400:
                found.append("a fault aborts with a status of 400 to 599")
        case Canary() if not what.percent and not what.header:
            found.append("a canary needs a percentage, a header, or both")
        case Canary() if what.header_value and not what.header:
            found.append("a value needs the header it is the value of")
    if not isinstance(what, Fault) and what.service is not None and what.service not in routes:
        found.append(f"there is no {what.service}; there are {', '.join(sorted(routes))}")
    return found


def same_place(one: Kind, other: Kind) -> bool:
    """Whether `other` would be done where `one` is: of these there is one at a time, the later."""
    return kind_of(one) == kind_of(other) and target_of(one) == target_of(other)
