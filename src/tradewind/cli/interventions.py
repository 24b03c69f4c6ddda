"""`tradewind mesh fault|canary|shadow|maintenance|interventions|end`: what an operator does to traffic for a while."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from tradewind.cli.control_port import ask_control_port
from tradewind.cli.output import FORMAT, aligned, duration, json_line, seconds_of
from tradewind.mesh.interventions import (
    Canary,
    Fault,
    Intervention,
    Kind,
    Maintenance,
    Order,
    Shadow,
    described,
    target_of,
)

PATH = "/v1/interventions"
FOR = click.option("--for", "for_", default="10m", show_default=True, help="When it ends by itself: 30s, 10m, 2h.")
REASON = click.option("--reason", default="", help="Why, for whoever finds it.")
PERCENT = click.option("--percent", type=click.IntRange(1, 100), default=100, show_default=True, help="Of how many.")
VERSION = click.option("--version", "version", required=True, help="The version its instances registered with.")


class _Listed(msgspec.Struct):
    items: list[Intervention]


@click.command()
@click.argument("operation", metavar="'METHOD PATH'")
@click.option("--delay", default="0s", help="How long a request waits first: 300ms, 2s.")
@click.option(
    "--abort", type=click.IntRange(400, 599), help="The status it is answered with instead of being passed on."
)
@PERCENT
@FOR
@REASON
def fault(operation: str, delay: str, abort: int | None, percent: int, for_: str, reason: str) -> None:
    """Make one operation slow, or fail: `tradewind mesh fault 'GET /v1/orders/{id}' --abort 503 --percent 10`.

    The operation is written as in `tradewind mesh routes`, with the names of its parameters.
    """
    delay_ms = round(seconds_of(delay, "--delay") * 1000)
    what = {
        "type": "fault",
        "operation": operation,
        "percent": percent,
        "delay_ms": delay_ms,
        "abort_status": abort or 0,
    }
    _begin(_checked(what, Fault), for_, reason)


@click.command()
@click.argument("room")
@VERSION
@click.option("--percent", type=click.IntRange(0, 100), default=0, help="Of how many requests.")
@click.option("--header", default="", metavar="NAME[=VALUE]", help="Those that carry this header go there, too.")
@FOR
@REASON
def canary(room: str, version: str, percent: int, header: str, for_: str, reason: str) -> None:
    """Send a share of a room's requests to one version of it, and all others to none of it.

    Afterwards all instances share the requests again: take back a version that failed before its time is over.
    """
    name, _, value = header.partition("=")
    what = {"type": "canary", "service": f"{room}-service", "version": version, "percent": percent,
            "header": name.lower() or None, "header_value": value}  # fmt: skip
    _begin(_checked(what, Canary), for_, reason)


@click.command()
@click.argument("room")
@VERSION
@PERCENT
@FOR
@REASON
def shadow(room: str, version: str, percent: int, for_: str, reason: str) -> None:
    """Send copies of a room's GETs to one version of it, and throw its answers away. Writes are never doubled."""
    what = {"type": "shadow", "service": f"{room}-service", "version": version, "percent": percent}
    _begin(_checked(what, Shadow), for_, reason)


@click.command()
@click.argument("room", required=False)
@click.option("--retry-after", default="60s", show_default=True, help="When clients are told to come back.")
@FOR
@REASON
def maintenance(room: str | None, retry_after: str, for_: str, reason: str) -> None:
    """Answer 503 `maintenance` to everybody but administrators: for one room, or for the whole platform."""
    what = {"type": "maintenance", "service": f"{room}-service" if room else None,
            "retry_after_s": round(seconds_of(retry_after, "--retry-after"))}  # fmt: skip
    _begin(_checked(what, Maintenance), for_, reason)


@click.command()
@FORMAT
def interventions(format_: str) -> None:
    """What is done to traffic now, by whom, and when it ends."""
    found = msgspec.json.decode(ask_control_port("GET", PATH), type=_Listed).items
    if format_ == "json":
        click.echo(json_line({"items": found}))
        return
    if not found:
        click.echo("nothing is done to traffic")
        return
    heading = ("ID", "KIND", "TARGET", "WHAT", "SET BY", "SINCE", "ENDS IN", "REASON")
    for line in aligned([heading, *(_cells(each) for each in found)]):
        click.echo(line)


@click.command()
@click.argument("intervention_id", metavar="ID|all")
def end(intervention_id: str) -> None:
    """End an intervention before its time, or all of them."""
    if intervention_id == "all":
        chosen = [each.id for each in msgspec.json.decode(ask_control_port("GET", PATH), type=_Listed).items]
    else:
        chosen = [intervention_id]
    for each in chosen:
        ask_control_port("DELETE", f"{PATH}/{each}")
        click.echo(f"{each} ended")
    if not chosen:
        click.echo("nothing is done to traffic")


COMMANDS: Sequence[click.Command] = (fault, canary, shadow, maintenance, interventions, end)


def _checked(what: dict[str, Any], kind: type[Kind]) -> Kind:
    try:
        return msgspec.convert(what, type=kind)
    except msgspec.ValidationError as error:
        raise click.UsageError(str(error)) from error


def _begin(what: Kind, for_: str, reason: str) -> None:
    try:
        order = msgspec.convert(
            {"what": msgspec.to_builtins(what), "for_s": seconds_of(for_, "--for"), "reason": reason}, type=Order
        )
    except msgspec.ValidationError as error:
        raise click.UsageError(f"--for: {error}") from error
    begun = msgspec.json.decode(ask_control_port("POST", PATH, msgspec.json.encode(order)), type=Intervention)
    until = datetime.fromtimestamp(begun.expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    click.echo(f"{begun.kind} on {target_of(begun.what)}: {described(begun.what)}, until {until}")
    click.echo(f"end it with: tradewind mesh end {begun.id}")


def _cells(each: Intervention) -> tuple[str, ...]:
    now_s = time.time()
    ends_s, since_s = max(0.0, each.expires_at - now_s), max(0.0, now_s - each.set_at)
    return (
        each.id, each.kind, target_of(each.what), described(each.what), each.set_by, duration(since_s), duration(ends_s), each.reason,
    )  # fmt: skip
