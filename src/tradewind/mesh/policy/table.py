"""The table: rows of services, routes and calls, and what of them holds for one service, operation or caller."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from tradewind.mesh.description import DeclaredRoute, Method
from tradewind.mesh.policy import defaults
from tradewind.mesh.policy.rows import Call, RoutePolicy, ServicePolicy
from tradewind.mesh.routes import METHOD_ORDER, Path, PathPattern, RouteTable, Target, TemplateError

ANY_METHOD = "*"


class OperationError(ValueError):
    """A key of the route table that names no operation."""


class Operation(msgspec.Struct, frozen=True):
    """The key of a route's row: `POST /v1/orders`, or `* /v1/ledger/{rest:path}` for all methods of all paths below.

    A template stands for the declared path of the same form, whatever its parameters are called; a parameter in it also
    for a fixed segment (`/v1/orders/{id}` for `/v1/orders/me`), so that a row cannot be stepped around.
    """

    method: str
    pattern: PathPattern

    @classmethod
    def of(cls, text: str) -> Operation:
        """Read a key.

        Raises:
            OperationError: it is not a method (or `*`) and a path template.
        """
        method, _, path = text.partition(" ")
        if method != ANY_METHOD and method not in METHOD_ORDER:
            raise OperationError(f"{text!r} does not begin with {', '.join(METHOD_ORDER)} or {ANY_METHOD}")
        if not path.startswith("/"):
            raise OperationError(f"{text!r} has no path after its method")
        try:
            return cls(method, PathPattern.of(path))
        except TemplateError as exc:
            raise OperationError(str(exc)) from exc

    def covers(self, method: str, pattern: PathPattern) -> bool:
        """Whether the row holds for this operation."""
        return self.method in (ANY_METHOD, method) and bool(re.fullmatch(self.pattern.regex, pattern.text))


class PermittedCall(msgspec.Struct, frozen=True):
    """One row of who may call whom; `path` is a template."""

    caller: str
    service: str
    method: Method
    path: str


class PolicyTable(msgspec.Struct, frozen=True, kw_only=True):
    """All rows. Equal tables give equal configurations."""

    default: ServicePolicy = defaults.DEFAULT
    services: Mapping[str, ServicePolicy] = {}
    routes: Mapping[str, RoutePolicy] = {}
    calls: tuple[Call, ...] = ()

    def service(self, name: str) -> ServicePolicy:
        """The row of a service."""
        return self.services.get(name, self.default)

    def route(self, method: str, template: str) -> RoutePolicy:
        """What holds for an operation: of the rows that cover it each field from the nearest, and all their demands."""
        pattern = PathPattern.of(template)
        rows = [(key, row) for text, row in self.routes.items() if (key := Operation.of(text)).covers(method, pattern)]
        rows.sort(key=lambda found: (found[0].pattern.specificity, found[0].method == ANY_METHOD), reverse=True)
        merged: dict[str, object] = {}
        demands: list[object] = []
        for _, row in rows:
            given = {name: value for name in row.__struct_fields__ if (value := getattr(row, name)) is not None}
            demands += [demand for demand in row.demands if demand not in demands]
            merged |= given
        return RoutePolicy(**{**merged, "demands": tuple(demands)})  # type: ignore[arg-type]

    def permitted_calls(self) -> Iterator[PermittedCall]:
        """Who may call whom, one (caller, service, method, path template) at a time. What is not here is not permitted."""
        seen = dict.fromkeys(
            PermittedCall(call.caller, call.service, method, call.path)
            for call in self.calls
            for method in call.methods
        )
        yield from seen

    def applied(self, table: RouteTable) -> RouteTable:
        """The route table with what the policy tightens, and each operation's own row beside it."""
        return RouteTable(tuple(self._applied(path) for path in table.paths), table.conflicts)

    def _applied(self, path: Path) -> Path:
        targets = {}
        for method, target in path.targets.items():
            row = self.route(method, target.template)
            targets[method] = Target(target.service, target.template, tightened(target.route, row), row, target.route)
        return Path(path.pattern, targets)


def tightened(route: DeclaredRoute, row: RoutePolicy) -> DeclaredRoute:
    """What was declared, or what the row says where that is less; a demand needs a token."""
    return msgspec.structs.replace(
        route,
        timeout_s=min(route.timeout_s, row.timeout_s or route.timeout_s),
        max_body_bytes=route.max_body_bytes
        if row.max_body_bytes is None
        else min(route.max_body_bytes, row.max_body_bytes),
        rate=row.rate or route.rate,
        access="signed-in" if row.demands and route.access in ("public", "optional") else route.access,
    )


def looser(route: DeclaredRoute, row: RoutePolicy) -> list[str]:
    """In what the service itself asks for less than the policy demands of the operation; empty when in nothing.

    The edge keeps to the policy all the same, but a caller inside the mesh meets the service alone.
    """
    found = []
    for demand in row.demands:
        allowed = set(demand.roles)
        declared = set(route.roles) if route.access == "roles" else None
        if allowed and (declared is None or not declared <= allowed | {"admin"}):
            has = f"the roles {', '.join(sorted(declared))}" if declared else f"access {route.access}"
            found.append(f"declares {has}, the policy demands {' or '.join(sorted(allowed))}")
    return found


def our_table() -> PolicyTable:
    """The table of `defaults.py`."""
    return PolicyTable(services=defaults.SERVICES, routes=defaults.ROUTES, calls=defaults.CALLS)


def unknown_names(table: PolicyTable, services: Iterable[str], routes: RouteTable) -> list[str]:
    """Services and operations with a row of which nobody has registered one. They may yet."""
    known = set(services)
    found = [f"no service {name} is known" for name in sorted(table.services) if name not in known]
    for text in table.routes:
        key = Operation.of(text)
        if not any(key.covers(method, path.pattern) for path in routes.paths for method in path.targets):
            found.append(f"no operation {text} is known")
    named = {name for call in table.calls for name in (call.caller, call.service)}
    return found + [f"no service {name} is known, and calls name it" for name in sorted(named - known)]
