"""The policy table as it is in code, written into the page that explains the mesh."""

from __future__ import annotations

import re
from pathlib import Path

from tradewind.mesh.policy import Demand, RoutePolicy, ServicePolicy
from tradewind.mesh.policy.table import our_table

PAGE = Path("docs/concepts/mesh.md")

_BLOCK = re.compile(r"(<!-- (policy_\w+), written by `make docs` -->\n).*?(<!-- end -->)", re.DOTALL)


def page(text: str) -> str:
    """`text`, the page as it is, with its tables as the code has them."""
    tables = {"policy_services": _services(), "policy_routes": _routes(), "policy_calls": _calls()}
    return _BLOCK.sub(lambda block: f"{block[1]}\n{tables[block[2]]}\n\n{block[3]}", text)


def _services() -> str:
    table = our_table()
    rows = [("any other service" if table.services else "every service", table.default), *table.services.items()]
    lines = ["| service | balancing | connects within | a call takes at most | a try | retries | ejected | at most |"]
    return "\n".join([*lines, "|---|---|---|---|---|---|---|---|", *(_service(name, row) for name, row in rows)])


def _service(name: str, row: ServicePolicy) -> str:
    retries, ejection, limits = row.retries, row.ejection, row.limits
    return (
        f"| {name} | {row.balancing} | {row.connect_timeout_s:g} s | {row.mesh_timeout_s:g} s in the mesh, what it declares "
        f"and {row.edge_grace_s:g} s at the edge | {row.mesh_try_s:g} s in the mesh, {retries.try_share:.0%} of the whole at the edge "
        f"| {retries.most}, within {retries.budget_percent:g} % of what is under way, or {retries.budget_least} "
        f"| after {ejection.failures} failed connections for {ejection.base_s:g} to {ejection.longest_s:g} s, never more than {ejection.most_percent} % "
        f"| {limits.connections} connections, {limits.pending} waiting, {limits.requests} under way |"
    )


def _routes() -> str:
    lines = ["| operation | what the policy tightens |", "|---|---|"]
    return "\n".join([*lines, *(f"| `{key}` | {_tightened(row)} |" for key, row in our_table().routes.items())])


def _tightened(row: RoutePolicy) -> str:
    words = [
        f"{name} {value:g}" for name in row.__struct_fields__ if isinstance(value := getattr(row, name), int | float)
    ]
    return ", ".join([*words, *([f"rate {row.rate}"] if row.rate else []), *map(_demanded, row.demands)])


def _demanded(demand: Demand) -> str:
    asked = [*(f"role {role}" for role in demand.roles), *(f"scope {scope}" for scope in demand.scopes)]
    return f"demands {' or '.join(asked)}"


def _calls() -> str:
    lines = ["| caller | may call | operation |", "|---|---|---|"]
    rows = (f"| {row.caller} | {row.service} | `{row.method} {row.path}` |" for row in our_table().permitted_calls())
    return "\n".join([*lines, *rows])
