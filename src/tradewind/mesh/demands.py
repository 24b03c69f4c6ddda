"""What the policy demands of a token, said to Envoy: an RBAC rule of a route over the claims that were verified before.

The service behind asks for what it declares all the same. This is the first of two doors, not the only one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tradewind.mesh.envoy_json import Json, any_of
from tradewind.mesh.policy.rows import Demand

FILTER = "envoy.filters.http.rbac"
FILTER_TYPE = "envoy.extensions.filters.http.rbac.v3.RBAC"
CLAIMS = "claims"
"""Key below which the JWT filter leaves the verified claims."""
MIGHTY_ROLE = "admin"
"""Implies every role, as in `chassis.identity`."""

_ROUTE_TYPE = "envoy.extensions.filters.http.rbac.v3.RBACPerRoute"
_JWT_FILTER = "envoy.filters.http.jwt_authn"


def claims_to_metadata() -> Json:
    """Options of the JWT provider by which the filter here sees roles and scopes; `scope` is one text with blanks."""
    return {
        "payload_in_metadata": CLAIMS,
        "normalize_payload_in_metadata": {"space_delimited_claims": ["scope"]},
    }


def rule(demands: Iterable[Demand]) -> Json:
    """The route's own configuration of the filter: all demands are met, or the answer is 403."""
    principals = [any_holds for demand in demands for any_holds in _each(demand)]
    policy = {"permissions": [{"any": True}], "principals": [{"and_ids": {"ids": principals}}]}
    return any_of(_ROUTE_TYPE, rbac={"rules": {"action": "ALLOW", "policies": {"demanded": policy}}})


def _each(demand: Demand) -> Iterator[Json]:
    if demand.roles:
        yield _one_of("roles", (*demand.roles, MIGHTY_ROLE))
    if demand.scopes:
        yield _one_of("scope", demand.scopes)


def _one_of(claim: str, values: Iterable[str]) -> Json:
    return {"or_ids": {"ids": [_holds(claim, value) for value in dict.fromkeys(values)]}}


def _holds(claim: str, value: str) -> Json:
    return {
        "sourced_metadata": {
            "metadata_matcher": {
                "filter": _JWT_FILTER,
                "path": [{"key": CLAIMS}, {"key": claim}],
                "value": {"list_match": {"one_of": {"string_match": {"exact": value}}}},
            }
        }
    }
