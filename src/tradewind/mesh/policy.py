"""The one policy table of the mesh: how long, how often, how many. Envoy enforces it for every caller alike.

Rows are services; `POLICIES` holds those that differ from `DEFAULT`. Time-outs, body limits and rate classes of single
operations are declared where the operation is (`timeout_s`, `max_body_bytes`, `rate`) and bounded here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

import msgspec

Share = Annotated[float, msgspec.Meta(gt=0, le=1)]


class Retries(msgspec.Struct, frozen=True, kw_only=True):
    """When a request is sent again, elsewhere if there is an elsewhere.

    `repeatable` requests (GET, HEAD, and whatever carries an Idempotency-Key) may reach a service twice without harm,
    so they are retried when a connection breaks while they are under way. All others only when they certainly never
    arrived. A 503 is retried only with the header `x-tradewind-retry: elsewhere`, by which an instance says that the
    fault is its own (draining, overloaded); a 503 without it means that every instance would say the same.
    """

    repeatable: str = "connect-failure,refused-stream,reset,retriable-headers"
    once_only: str = "connect-failure,refused-stream"
    most: int = 3
    elsewhere_attempts: int = 20
    """How often a retry draws another instance before it takes the one that failed. A dead instance has no request under
    way, so least-request prefers it: of two, three draws in four name it, and three attempts would leave one request
    in three with it."""
    first_pause_s: float = 0.025
    longest_pause_s: float = 0.25
    try_share: Share = 0.4
    budget_percent: float = 25.0
    budget_least: int = 64
    """The budget caps retries at a share of the requests under way; below `budget_least` it never bites. Envoy's own
    default of 3 concurrent retries overflows in the very crash it is for."""


class Ejection(msgspec.Struct, frozen=True, kw_only=True):
    """Outlier detection: an instance that does not answer leaves rotation, long before its lease ends.

    Only failures of the connection count (refused, reset, timed out). A 5xx of the service itself does not: when a
    database is away, every instance answers 503, and ejecting them would turn a clear answer into none. `most_percent`
    keeps half of a service in rotation, so a lone instance is never ejected and serves again the moment it is back.
    """

    failures: int = 2
    check_every_s: float = 0.5
    base_s: float = 1.0
    longest_s: float = 10.0
    most_percent: int = 50


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Circuit breaker thresholds per Envoy: past them a request is refused with 503 instead of queued."""

    connections: int = 1024
    pending: int = 1024
    requests: int = 2048


class ServicePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table."""

    balancing: Literal["least-request", "round-robin"] = "least-request"
    connect_timeout_s: float = 1.0
    idle_connection_s: float = 60.0
    """Below the 90 s after which the services close idle connections, so that it is always Envoy who closes."""
    edge_grace_s: float = 1.0
    """What an operation's own time-out gets on top at the edge, so that the service is the one to say it took too long."""
    mesh_timeout_s: float = 15.0
    mesh_try_s: float = 1.0
    retries: Retries = Retries()
    ejection: Ejection = Ejection()
    limits: Limits = Limits()


DEFAULT = ServicePolicy()

POLICIES: Mapping[str, ServicePolicy] = MappingProxyType({})


def policy_of(service: str) -> ServicePolicy:
    """The row of `service`."""
    return POLICIES.get(service, DEFAULT)


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """A token bucket: `burst` at once, then `per_s` a second."""

    per_s: Annotated[int, msgspec.Meta(gt=0)]
    burst: Annotated[int, msgspec.Meta(gt=0)]

    @property
    def window_s(self) -> float:
        """Seconds in which an empty bucket fills up."""
        return self.burst / self.per_s


class RateLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Who may ask how often at the edge, per Envoy.

    Class `default`: `subject` per signed-in subject, `address` per client address without one. Class `auth`
    (register, login, change of password): `auth` per address, or per subject where the operation is for the signed-in.
    Class `none`: unlimited.
    """

    subject: Bucket = Bucket(per_s=200, burst=400)
    address: Bucket = Bucket(per_s=100, burst=200)
    auth: Bucket = Bucket(per_s=5, burst=50)
    most_clients: int = 10_000
    """Buckets kept at a time; the least recently used makes room."""
