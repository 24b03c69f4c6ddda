"""The policy file: TOML that overlays the rows in `defaults.py`. Every mistake in it is found, not only the first.

[services.order-service]                     # fields of ServicePolicy
balancing = "ring-hash"
retries = { budget_percent = 20.0 }

[routes."POST /v1/orders"]                   # fields of RoutePolicy
timeout_s = 5.0
demands = [{ roles = ["customer"] }]

[[calls]]                                    # fields of Call, in addition to ours
caller = "order-service"
service = "user-service"
methods = ["GET"]
path = "/v1/users/me"
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, get_args

import msgspec

from tradewind.mesh.policy.allowed import allowed_by
from tradewind.mesh.policy.rows import Call, RoutePolicy, ServiceName, ServicePolicy
from tradewind.mesh.policy.table import Operation, OperationError, PolicyTable

MAX_FILE_BYTES = 1024 * 1024
CODE = "policy-invalid"
_TABLES = ("services", "routes", "calls")
_ORDERED = (
    (("retries", "first_pause_s"), ("retries", "longest_pause_s")),
    (("ejection", "base_s"), ("ejection", "longest_s")),
    (("mesh_try_s",), ("mesh_timeout_s",)),
)
"""Pairs of a service's fields of which the first may not be more than the second."""


class Fault(msgspec.Struct, frozen=True):
    """One mistake: in which table of the file, at which key, what is wrong there, and what would be right."""

    table: str
    key: str
    wrong: str
    allowed: str
    code: str = CODE

    def __str__(self) -> str:
        at = f"[{self.table}] {self.key}".strip() if self.table else self.key
        return ": ".join(part for part in (at, self.wrong) if part) + (f"; {self.allowed}" if self.allowed else "")


class PolicyInvalid(ValueError):
    """The file cannot be used; `faults` are all that is wrong with it."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = faults


def overlaid(text: str, below: PolicyTable) -> PolicyTable:
    """The table `below` with what the file's text says on top. Demands and calls of the file are added to those below.

    Raises:
        PolicyInvalid: there are mistakes; none of the file is taken.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise PolicyInvalid([Fault("", "", f"this is not TOML: {exc}", "")]) from exc
    faults = list(_unknown("", content, _TABLES))
    services = dict(below.services)
    for name, fields in _rows("services", content, faults):
        table = f"services.{name}"
        faults += _bad(table, "", name, ServiceName)
        base = below.service(name)
        found = list(_faults(table, "", fields, ServicePolicy))
        if not found:
            merged = _merged(msgspec.to_builtins(base), fields)
            found = list(_out_of_order(table, merged))
            services[name] = msgspec.convert(merged, ServicePolicy)
        faults += found
    routes = dict(below.routes)
    for key, fields in _rows("routes", content, faults):
        table = f'routes."{key}"'
        try:
            Operation.of(key)
        except OperationError as exc:
            faults.append(Fault(table, "", str(exc), 'an operation is a method, or *, and a path: "POST /v1/orders"'))
        found = list(_faults(table, "", fields, RoutePolicy))
        if not found:
            row = msgspec.convert(fields, RoutePolicy)
            routes[key] = _over(routes.get(key, RoutePolicy()), row)
        faults += found
    calls = list(below.calls)
    for number, fields in _list("calls", content, faults):
        table = f"calls, number {number}"
        found = list(_faults(table, "", fields, Call))
        found += (Fault(table, name, "is missing", "") for name in Call.__struct_fields__ if name not in fields)
        if not found:
            calls.append(msgspec.convert(fields, Call))
        faults += found
    if faults:
        raise PolicyInvalid(faults)
    return PolicyTable(default=below.default, services=services, routes=routes, calls=tuple(dict.fromkeys(calls)))


def _over(below: RoutePolicy, row: RoutePolicy) -> RoutePolicy:
    given = {name: value for name in row.__struct_fields__ if (value := getattr(row, name)) is not None}
    demands = tuple(dict.fromkeys((*below.demands, *row.demands)))
    return msgspec.structs.replace(below, **{**given, "demands": demands})


def _rows(name: str, content: Mapping[str, Any], faults: list[Fault]) -> Iterator[tuple[str, dict[str, Any]]]:
    rows = content.get(name, {})
    if not isinstance(rows, dict):
        faults.append(Fault(name, "", "is not a table", f"write [{name}.NAME]"))
        return
    for key, fields in rows.items():
        if isinstance(fields, dict):
            yield key, fields
        else:
            faults.append(Fault(name, key, "is not a table", f'write [{name}."{key}"]'))


def _list(name: str, content: Mapping[str, Any], faults: list[Fault]) -> Iterator[tuple[int, dict[str, Any]]]:
    rows = content.get(name, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        faults.append(Fault(name, "", "is not a list of tables", f"write [[{name}]]"))
        return
    yield from enumerate(rows, start=1)


def _faults(table: str, before: str, fields: Mapping[str, Any], kind: type[msgspec.Struct]) -> Iterator[Fault]:
    """All that is wrong with the fields of one struct."""
    known = {field.name: field.type for field in msgspec.structs.fields(kind)}
    yield from _unknown(table, fields, tuple(known), before)
    for name, value in fields.items():
        if name not in known:
            continue
        inner = known[name]
        if (row := _struct(inner)) and isinstance(value, dict):
            yield from _faults(table, f"{before}{name}.", value, row)
        elif (row := _struct(*get_args(inner)[:1])) and isinstance(value, list) and value:
            for number, item in enumerate(value):
                at = f"{before}{name}[{number}]"
                if isinstance(item, dict):
                    yield from _faults(table, f"{at}.", item, row)
                else:
                    yield from _bad(table, at, item, row)
        else:
            yield from _bad(table, before + name, value, inner)


def _struct(kind: object = None) -> type[msgspec.Struct] | None:
    return kind if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else None


def _bad(table: str, key: str, value: object, kind: Any) -> Iterator[Fault]:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as exc:
        yield Fault(table, key, f"{_shown(value)} is not possible ({exc})", f"allowed: {allowed_by(kind)}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _unknown(table: str, fields: Mapping[str, Any], known: tuple[str, ...], before: str = "") -> Iterator[Fault]:
    for name in fields:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f"did you mean {near[0]}? " if near else ""
            yield Fault(table, before + name, "there is no such key", f"{meant}allowed: {', '.join(known)}")


def _out_of_order(table: str, merged: Mapping[str, Any]) -> Iterator[Fault]:
    for less, more in _ORDERED:
        low, high = _at(merged, less), _at(merged, more)
        if low > high:
            yield Fault(table, ".".join(less), f"{low} is more than {'.'.join(more)}, {high}", f"allowed: up to {high}")


def _at(fields: Any, names: tuple[str, ...]) -> float:
    for name in names:
        fields = fields[name]
    return float(fields)


def _merged(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        inner = merged.get(name)
        merged[name] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged
