"""What a row of the policy table holds, for a service and for a route; every field with its bounds."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from tradewind.mesh.description import MAX_BODY_BYTES, MAX_TIMEOUT_S, Method, Rate

Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
Percent = Annotated[int, msgspec.Meta(ge=1, le=100)]
Seconds = Annotated[float, msgspec.Meta(ge=0.001, le=MAX_TIMEOUT_S)]
"""Envoy is told milliseconds; less than one would be none."""
Threshold = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Attempts = Annotated[int, msgspec.Meta(ge=0, le=10)]
ServiceName = Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9]{0,30}-service$")]
Word = Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9:._-]{0,63}$")]
"""The name of a role or a scope."""
Balancing: TypeAlias = Literal["least-request", "round-robin", "ring-hash"]
MOST_BUDGET_PERCENT = 25
"""Retries never add more than a quarter to the load of a service that is failing (Google's SRE book has 10 to 20 %)."""


class Retries(msgspec.Struct, frozen=True, kw_only=True):
    """When a request is sent again, elsewhere if there is an elsewhere.

    `repeatable` requests (GET, HEAD, and whatever carries an Idempotency-Key) may reach a service twice without harm,
    so they are retried when a connection breaks while they are under way. All others only when they certainly never
    arrived. A 503 is retried only with the header `x-tradewind-retry: elsewhere`, by which an instance says that the
    fault is its own (draining, overloaded); a 503 without it means that every instance would say the same.
    """

    most: Attempts = 3
    elsewhere_attempts: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20
    """How often a retry draws another instance before it takes the one that failed. A dead instance has no request under
    way, so least-request prefers it: of two, three draws in four name it, and three attempts would leave one request
    in three with it."""
    first_pause_s: Seconds = 0.025
    longest_pause_s: Seconds = 0.25
    try_share: Share = 0.4
    """Of a request's time, what one try of a repeatable one may take at the edge."""
    budget_percent: Annotated[float, msgspec.Meta(gt=0, le=MOST_BUDGET_PERCENT)] = 25.0
    budget_least: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 64
    """The budget caps retries at a share of the requests under way; below `budget_least` it never bites. Envoy's own
    default of 3 concurrent retries overflows in the very crash it is for."""


class Ejection(msgspec.Struct, frozen=True, kw_only=True):
    """Outlier detection: an instance that does not answer leaves rotation, long before its lease ends.

    Only failures of the connection count (refused, reset, timed out). A 5xx of the service itself does not: when a
    database is away, every instance answers 503, and ejecting them would turn a clear answer into none. `most_percent`
    keeps half of a service in rotation, so a lone instance is never ejected and serves again the moment it is back.
    """

    failures: Threshold = 2
    check_every_s: Seconds = 0.5
    base_s: Seconds = 1.0
    longest_s: Seconds = 10.0
    most_percent: Percent = 50


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Circuit breaker thresholds per Envoy: past them a request is refused with 503 instead of queued."""

    connections: Threshold = 1024
    pending: Threshold = 1024
    requests: Threshold = 2048


class ServicePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How a service is called, whoever calls it.

    `balancing`: `least-request` draws two instances and takes the one with less under way; `round-robin` takes turns;
    `ring-hash` keeps a user (the verified subject; without one the client's address) on one instance while that is there.
    """

    balancing: Balancing = "least-request"
    connect_timeout_s: Seconds = 1.0
    idle_connection_s: Annotated[float, msgspec.Meta(ge=0.001, le=80)] = 60.0
    """Below the 90 s after which the services close idle connections, so that it is always Envoy who closes."""
    edge_grace_s: Annotated[float, msgspec.Meta(ge=0, le=60)] = 1.0
    """What an operation's own time-out gets on top at the edge, so that the service is the one to say it took too long."""
    mesh_timeout_s: Seconds = 15.0
    mesh_try_s: Seconds = 1.0
    retries: Retries = Retries()
    ejection: Ejection = Ejection()
    limits: Limits = Limits()


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller's token must hold: one of `roles` (`admin` counts for each), and one of `scopes`; empty asks for none."""

    roles: tuple[Word, ...] = ()
    scopes: tuple[Word, ...] = ()


class RoutePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for an operation at the edge beyond what it declares. It may tighten that, and never loosens it.

    `timeout_s` and `max_body_bytes` count where they are less than declared: the service itself keeps to its own.
    `demands` must all be met; the service goes on asking for what it declares.
    """

    timeout_s: Seconds | None = None
    try_timeout_s: Seconds | None = None
    retries: Attempts | None = None
    max_body_bytes: Annotated[int, msgspec.Meta(ge=0, le=MAX_BODY_BYTES)] | None = None
    rate: Rate | None = None
    demands: tuple[Demand, ...] = ()


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One service may call these methods of one path template of another."""

    caller: ServiceName
    service: ServiceName
    methods: Annotated[tuple[Method, ...], msgspec.Meta(min_length=1)]
    path: Annotated[str, msgspec.Meta(pattern="^/", max_length=512)]


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
    shared: bool = False
    """Whether class `auth` is counted for all gateways together, in Valkey; each Envoy's own count still holds."""
    most_clients: int = 10_000
    """Buckets kept at a time; the least recently used makes room."""
