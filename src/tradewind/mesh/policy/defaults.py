"""Our own rows, each with its reason. What is not here is as `ServicePolicy()` and `RoutePolicy()` say."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tradewind.mesh.policy.rows import Call, Demand, RoutePolicy, ServicePolicy

DEFAULT = ServicePolicy()

SERVICES: Mapping[str, ServicePolicy] = MappingProxyType({})

ROUTES: Mapping[str, RoutePolicy] = MappingProxyType(
    {
        # The books: read by few, and no mistake in a service's own declaration may open them.
        "* /v1/ledger/{rest:path}": RoutePolicy(demands=(Demand(roles=("finance",)),)),
        "GET /v1/payments/reconciliation": RoutePolicy(demands=(Demand(roles=("finance",)),)),
        "* /v1/analytics/{rest:path}": RoutePolicy(demands=(Demand(roles=("analyst", "finance")),)),
        # Whoever gives out roles can have them all. A body of roles is short.
        "PUT /v1/users/{id}/roles": RoutePolicy(demands=(Demand(roles=("admin",)),), max_body_bytes=16 * 1024),
        # Argon2id runs in a small pool; a request with more than an address and a password in it is not from a person.
        "POST /v1/auth/login": RoutePolicy(max_body_bytes=16 * 1024),
        "POST /v1/auth/register": RoutePolicy(max_body_bytes=16 * 1024),
    }
)
"""By operation: a method, or `*` for all, and a path template; see `table.py` for what a template matches."""

CALLS: tuple[Call, ...] = (
    # An order may name an address that the customer keeps; user-service shows it to the customer's own token.
    Call(
        caller="order-service",
        service="user-service",
        methods=("GET",),
        path="/v1/users/me/addresses/{id}",
    ),
)
"""All synchronous calls there are between services: everything else goes over the bus."""
