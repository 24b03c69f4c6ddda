"""`tradewind ps`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any

import click
import msgspec

from tradewind.cli.output import COLUMNS, FORMAT, aligned, cells, json_line
from tradewind.cli.running_interventions import running_here, warning_line
from tradewind.stack import probe
from tradewind.stack.client import ask, running_supervisor
from tradewind.stack.memory import pss_mb
from tradewind.stack.state import State

ANSWER_TIMEOUT_S = 10.0
HEALTH_TIMEOUT_S = 3.0


@click.command()
@FORMAT
def ps(format_: str) -> None:
    """What runs, and what it waits for."""
    state = State.of(os.environ)
    nothing: dict[str, Any] = {"processes": [], "ready": False, "url": ""}
    alive = running_supervisor(state) is not None
    answer = next(ask(state, timeout_s=ANSWER_TIMEOUT_S, verb="ps")) if alive else nothing
    _weigh(answer["processes"])
    ports = state.ports() if alive else {}
    asyncio.run(_examine(answer["processes"], ports))
    answer["registry"] = asyncio.run(registry_standing(ports))
    meddling = running_here(state) if alive else []
    if format_ == "json":
        click.echo(json_line({**answer, "interventions": meddling}))
        return
    if not alive:
        click.echo(f"nothing runs in {state.folder}; start it with `tradewind up`")
        return
    for line in aligned([COLUMNS, *(cells(row) for row in answer["processes"])]):
        click.echo(line)
    total = sum(row["memory_mb"] for row in answer["processes"])
    word = f"ready at {answer['url']}" if answer["ready"] else "not ready yet"
    click.echo(f"\n{word}, {total:.0f} MB")
    for each in meddling:
        click.secho(warning_line(each), fg="yellow")
    if said := _registry_line(answer["registry"]):
        click.echo(said)


def _weigh(rows: list[dict[str, Any]]) -> None:
    """Add the memory. Here and not in the supervisor, whose probes would wait for it."""
    weights = pss_mb(*(row["pid"] for row in rows if row["pid"]))
    for row in rows:
        row["memory_mb"] = weights.get(row["pid"], 0.0)


class _Health(msgspec.Struct):
    degraded: list[str] = []


async def _examine(rows: list[dict[str, Any]], ports: Mapping[str, Any]) -> None:
    """Add what each service works without just now, as its management port says; nothing for a process that has none."""
    found = await asyncio.gather(*(_degraded(ports.get(row["name"])) for row in rows))
    for row, degraded in zip(rows, found, strict=True):
        row["degraded"] = degraded


async def _degraded(ports: object) -> list[str]:
    port = ports.get("management_port") if isinstance(ports, dict) else None
    if port is None:
        return []
    answer = await probe.http(f"http://127.0.0.1:{port}/readyz?verbose", timeout_s=HEALTH_TIMEOUT_S)
    try:
        return msgspec.json.decode(answer.body, type=_Health).degraded
    except msgspec.DecodeError:
        return []


async def registry_standing(ports: Mapping[str, Any]) -> dict[str, Any] | None:
    """Which registry the gateway uses and whether it answers, as the gateway says; None while it does not."""
    port = (ports.get("gateway-1") or {}).get("control_port")
    if port is None:
        return None
    answer = await probe.http(f"http://127.0.0.1:{port}/v1/registry", timeout_s=HEALTH_TIMEOUT_S)
    try:
        return msgspec.json.decode(answer.body, type=dict[str, Any])
    except msgspec.MsgspecError:
        return None


def _registry_line(standing: dict[str, Any] | None) -> str:
    """Nothing for the usual one, which is the gateway itself."""
    if standing is None or standing["kind"] == "local":
        return ""
    word = "answers" if standing["answers"] else f"does not answer: {standing['problem'] or 'not asked yet'}"
    refused = f"; {len(standing['refused'])} entries get no requests" if standing["refused"] else ""
    return f"registry {standing['kind']} at {standing['address']} {word}{refused}"
