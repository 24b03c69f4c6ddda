"""The route table: what services declare, ordered so that the first match is the right one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from tradewind.mesh.description import DeclaredRoute, Method
from tradewind.mesh.discovery import KnownService
from tradewind.mesh.policy.rows import RoutePolicy

_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?::(\w+))?\}")
METHOD_ORDER: tuple[Method, ...] = ("GET", "POST", "PUT", "PATCH", "DELETE")


class TemplateError(ValueError):
    """A path template that no router could read: an empty or unclosed parameter."""


class PathPattern(msgspec.Struct, frozen=True):
    """A path template without the names of its parameters: `/v1/orders/{}`. Equal patterns match the same paths.

    A parameter matches one segment; `{name:path}` matches the rest of the path and is written `{*}`.
    """

    text: str

    @classmethod
    def of(cls, template: str) -> PathPattern:
        """Read a template.

        Raises:
            TemplateError: a brace is left over.
        """
        if set("{}") & set(_PARAMETER.sub("", template)):
            raise TemplateError(f"{template!r} is not a path template")
        return cls(_PARAMETER.sub(lambda match: "{*}" if match[2] == "path" else "{}", template))

    @property
    def literal(self) -> bool:
        """Whether it matches exactly one path."""
        return "{" not in self.text

    @property
    def regex(self) -> str:
        """The RE2 expression that matches a whole path."""
        parts = re.split(r"(\{\*?\})", self.text)
        return "".join({"{}": "[^/]+", "{*}": ".+"}.get(part) or re.escape(part) for part in parts)

    @property
    def group(self) -> str:
        """The literal start up to two segments (`/v1/orders`): the key by which Envoy finds a short list to search."""
        literal = self.text.partition("{")[0]
        if literal == self.text:
            return "/" + "/".join(literal.split("/")[1:3])
        return "/" + "/".join(literal.split("/")[1:-1][:2])

    @property
    def specificity(self) -> tuple[tuple[int, str], ...]:
        """Sort key: of two patterns that match one path, the one that sorts first is meant."""
        return tuple((_rank(segment), segment) for segment in self.text.split("/")[1:])


def _rank(segment: str) -> int:
    if "{*}" in segment:
        return 3
    if segment == "{}":
        return 2
    return 1 if "{}" in segment else 0


def template_faults(routes: Iterable[DeclaredRoute]) -> list[str]:
    """What is wrong with the templates of `routes`; empty when nothing."""
    faults = []
    for route in routes:
        try:
            PathPattern.of(route.path)
        except TemplateError as exc:
            faults.append(str(exc))
    return faults


class Target(msgspec.Struct, frozen=True):
    """Who answers one method of one pattern, the properties that hold for it, and its row of the policy table."""

    service: str
    template: str
    route: DeclaredRoute
    policy: RoutePolicy = RoutePolicy()
    declared: DeclaredRoute | None = None
    """What the service declares, where the policy was applied to it."""


class Path(msgspec.Struct, frozen=True):
    """One pattern and all methods it answers, in `METHOD_ORDER`."""

    pattern: PathPattern
    targets: dict[Method, Target]

    @property
    def allow(self) -> str:
        """The value of `Allow` on a 405."""
        methods: list[str] = list(self.targets)
        if "GET" in methods:
            methods.insert(methods.index("GET") + 1, "HEAD")
        return ", ".join(methods)


class Conflict(msgspec.Struct, frozen=True):
    """A declared operation that gets no requests, since another service had it first."""

    operation: str
    service: str
    served_by: str


class RouteTable(msgspec.Struct, frozen=True):
    """All paths, most specific first, and what had to be left out."""

    paths: tuple[Path, ...]
    conflicts: tuple[Conflict, ...] = ()


def route_table(services: Mapping[str, KnownService], own: Iterable[tuple[str, DeclaredRoute]] = ()) -> RouteTable:
    """Make the table of what `services` declare.

    `own` are operations of the control plane itself as (service, route). They win silently over any other: the gateway
    serves auth's keys under auth's path, so that they are there when auth is not.
    """
    found: dict[PathPattern, dict[Method, Target]] = {}
    conflicts: list[Conflict] = []
    own_first = list(own)
    own_operations = {(PathPattern.of(route.path), method) for _, route in own_first for method in route.methods}
    by_arrival = sorted(services.values(), key=lambda known: known.since)
    declared = [*own_first, *((known.service, route) for known in by_arrival for route in known.routes)]
    for service, route in declared:
        pattern = PathPattern.of(route.path)
        targets = found.setdefault(pattern, {})
        for method in route.methods:
            holder = targets.setdefault(method, Target(service, route.path, route))
            if holder.service != service and (pattern, method) not in own_operations:
                conflicts.append(Conflict(f"{method} {route.path}", service, holder.service))
    paths = (
        Path(pattern, {method: targets[method] for method in METHOD_ORDER if method in targets})
        for pattern, targets in sorted(found.items(), key=lambda item: item[0].specificity)
    )
    return RouteTable(tuple(paths), tuple(conflicts))
