"""The policy table at work: the file is looked at again and again, and what is in force can be asked for."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from tradewind.mesh.bootstrap import GATEWAY_SERVICE
from tradewind.mesh.policy.source import PolicyStanding
from tradewind.mesh.policy.table import looser, unknown_names
from tradewind.services.gateway.parts import Parts


async def reload_policy(parts: Parts) -> None:
    """Take the policy file if it has changed and is right. A wrong one is told, and what was in force stays."""
    if await asyncio.to_thread(parts.policies.read):
        parts.control_plane.take(parts.policies.table)
    parts.figures.note_policy(len(parts.policies.faults))


def policy_standing(parts: Parts) -> PolicyStanding:
    """Which table is in force, what is wrong with the file, and what to look at: rows of nobody, services that ask for less."""
    source, table = parts.policies, parts.control_plane.table
    warnings = unknown_names(source.table, [GATEWAY_SERVICE, *parts.registry.services()], table)
    for path in table.paths:
        for method, target in path.targets.items():
            for sentence in looser(target.declared or target.route, target.policy):
                warnings.append(f"{method} {target.template} of {target.service} {sentence}")
    return PolicyStanding(origin=source.origin, file=source.file, faults=source.faults, warnings=tuple(warnings))


def policy_view(parts: Parts) -> dict[str, Any]:
    """The table in force as it is shown: its rows, and the standing of the file."""
    table = parts.policies.table
    return {
        **msgspec.structs.asdict(policy_standing(parts)),
        "default": table.default,
        "services": dict(table.services),
        "routes": dict(table.routes),
        "calls": list(table.permitted_calls()),
    }
