"""Who may call whom in the mesh, as Envoy's RBAC filter decides it on the caller's certificate.

The listener's own filter lets nobody through; each service's virtual host says who may call it, with which methods and
paths. Under `MESH_MTLS=off` there is no certificate to decide on, and no filter.
"""

from __future__ import annotations

from collections.abc import Iterable

from tradewind.mesh.envoy_json import Json, any_of, extension, method_is
from tradewind.mesh.identity import spiffe_id
from tradewind.mesh.policy.table import PermittedCall
from tradewind.mesh.routes import PathPattern

FILTER = "envoy.filters.http.rbac"
_RULES = "envoy.extensions.filters.http.rbac.v3.RBAC"
_PER_ROUTE = "envoy.extensions.filters.http.rbac.v3.RBACPerRoute"


def deny_all() -> Json:
    """The filter of the egress listener: an allow list with nothing on it."""
    return extension(FILTER, _RULES, rules={"action": "ALLOW", "policies": {}})


def permitted_only(calls: Iterable[PermittedCall]) -> Json:
    """What replaces it for one service, whose rows `calls` are."""
    policies = {f"{call.caller} {call.method} {call.path}": _policy(call) for call in calls}
    return any_of(_PER_ROUTE, rbac={"rules": {"action": "ALLOW", "policies": policies}})


def not_asked() -> Json:
    """For replies of the proxy's own, which reach no service."""
    return any_of(_PER_ROUTE)


def _policy(call: PermittedCall) -> Json:
    pattern = PathPattern.of(call.path)
    path = {"exact": pattern.text} if pattern.literal else {"safe_regex": {"regex": pattern.regex}}
    rules: list[Json] = [{"header": method_is(call.method)}, {"url_path": {"path": path}}]
    caller = spiffe_id(call.caller.removesuffix("-service"))
    return {
        "permissions": [{"and_rules": {"rules": rules}}],
        "principals": [{"authenticated": {"principal_name": {"exact": caller}}}],
    }
