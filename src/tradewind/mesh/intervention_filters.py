"""The filters of the edge that interventions need: in the chain from the start, off until a route switches them on.

A filter that is off is not even made for a request, so that they cost nothing while nothing is done.
"""

from __future__ import annotations

from tradewind.mesh.envoy_json import Json, extension

FAULT_FILTER = "envoy.filters.http.fault"
FAULT_TYPE = "envoy.extensions.filters.http.fault.v3.HTTPFault"
GUARD_FILTER = "tradewind.maintenance"
GUARD_TYPE = "envoy.extensions.filters.http.rbac.v3.RBAC"
GUARD_POLICY = "maintenance"
TOKEN_LOOKED_AT = "token-looked-at"  # noqa: S105 - the name of a requirement, not a token


def intervention_filters() -> list[Json]:
    """What stands behind the token and the limits, and before the body is read."""
    return [
        {**extension(GUARD_FILTER, GUARD_TYPE), "disabled": True},
        {**extension(FAULT_FILTER, FAULT_TYPE), "disabled": True},
    ]
