"""`tradewind mesh policy|routes|clusters`: what is wanted of Envoy, and what it has loaded."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from tradewind.cli.control_port import control_json
from tradewind.cli.output import FORMAT, aligned, json_line

EXIT_FAILED = 1
_URL = click.option("--url", default="", help="Control port of the gateway; the platform that runs here, if not given.")


@click.command()
@_URL
@FORMAT
def policy(url: str, format_: str) -> None:
    """The policy table in force, and what is wrong with its file.

    Exit code 1 while the file has mistakes: what was in force before it stays.
    """
    found = control_json("/v1/mesh", os.environ, url)["policy"]
    if format_ == "json":
        click.echo(json_line(found))
    else:
        _print_policy(found)
    sys.exit(EXIT_FAILED if found["faults"] else 0)


@click.command()
@_URL
@FORMAT
def routes(url: str, format_: str) -> None:
    """Every public operation, and whether Envoy runs the routes that are wanted.

    Exit code 1 while it refuses them: those before stay in force.
    """
    found = control_json("/v1/mesh/data-plane", os.environ, url)
    shown = {"route_configurations": found["route_configurations"], "routes": found["routes"]}
    if format_ == "json":
        click.echo(json_line(shown))
    else:
        for row in found["route_configurations"]:
            click.echo(f"{row['name']}: {_standing(row)}")
        click.echo("")
        head = ("METHOD", "PATH", "SERVICE", "WHO", "RATE", "TIMEOUT", "BODY", "RETRIED")
        click.echo("\n".join(aligned([head, *map(_route, found["routes"])])))
    _end(found, found["route_configurations"])


@click.command()
@_URL
@FORMAT
def clusters(url: str, format_: str) -> None:
    """Every service with its instances as Envoy uses them: health, ejection, weight, requests, retries, open breakers.

    Exit code 1 while Envoy refuses what is wanted: what it had stays in force.
    """
    found = control_json("/v1/mesh/data-plane", os.environ, url)
    if format_ == "json":
        click.echo(json_line({"reachable": found["reachable"], "clusters": found["clusters"]}))
    else:
        rows = [row for cluster in found["clusters"] for row in _cluster(cluster)]
        head = ("SERVICE", "INSTANCE", "ADDRESS", "STATE", "WEIGHT", "REQUESTS", "ACTIVE", "ERRORS")
        click.echo("\n".join(aligned([head, *rows])))
        click.echo("")
        for cluster in found["clusters"]:
            click.echo(f"{cluster['service']}: {_standing(cluster)}; {_figures(cluster['figures'])}")
    _end(found, found["clusters"])


VIEWS = (policy, routes, clusters)


def _end(found: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    if not found["reachable"]:
        click.echo("tradewind: Envoy's admin does not answer; only what is wanted is shown", err=True)
    sys.exit(EXIT_FAILED if any(row["refused"] for row in rows) or not found["reachable"] else 0)


def _standing(row: dict[str, Any]) -> str:
    if row["refused"]:
        return f"version {row['wanted']} REFUSED, {row['loaded'] or 'none'} stays: {row['reason']}"
    if row["loaded"] != row["wanted"]:
        return f"version {row['loaded'] or 'none'} loaded, {row['wanted']} wanted"
    return f"version {row['loaded']} accepted"


def _cluster(cluster: dict[str, Any]) -> list[tuple[str, ...]]:
    rows = [
        (
            cluster["service"],
            each["instance"],
            each["address"],
            each["state"],
            *(str(each.get(name, "")) for name in ("weight", "requests", "active", "errors")),
        )
        for each in cluster["endpoints"]
    ]
    return rows or [(cluster["service"], "", "", "no instance", "", "", "", "")]


def _figures(figures: dict[str, int]) -> str:
    opened = [
        name.split(".")[-1].removesuffix("_open") for name, on in figures.items() if name.endswith("_open") and on
    ]
    return (
        f"{figures.get('upstream_rq_total', 0)} requests, {figures.get('upstream_rq_retry', 0)} retries "
        f"({figures.get('upstream_rq_retry_overflow', 0)} over budget), "
        f"{figures.get('upstream_rq_pending_overflow', 0)} refused by a breaker"
        + (f", OPEN: {', '.join(opened)}" if opened else "")
    )


def _route(row: dict[str, Any]) -> tuple[str, ...]:
    who = "|".join(row["roles"]) or row["access"]
    for demand in row["demands"]:
        who += f" + {'|'.join([*demand['roles'], *demand['scopes']])}"
    timeout = f"{row['timeout_s']:g} s"
    body = f"{row['max_body_bytes']} B"
    return row["method"], row["path"], row["service"], who, row["rate"], timeout, body, row["retried"]


def _print_policy(found: dict[str, Any]) -> None:
    click.echo(f"in force: {found['origin']}" + (f", of {found['file']}" if found["file"] else ""))
    for fault in found["faults"]:
        at = f"[{fault['table']}] " if fault["table"] else ""
        what = f"{at}{fault['key']}: {fault['wrong']}" if fault["key"] else f"{at}{fault['wrong']}"
        click.secho(f"{fault['code']}: {what}" + (f"; {fault['allowed']}" if fault["allowed"] else ""), fg="red")
    for warning in found["warnings"]:
        click.secho(f"to look at: {warning}", fg="yellow")
    rows: list[tuple[str, ...]] = [
        ("SERVICE", "BALANCING", "CONNECT", "RETRIES", "BUDGET", "EJECTED AFTER", "CONNECTIONS/PENDING/REQUESTS")
    ]
    rows += [_service(name, row) for name, row in [("(any other)", found["default"]), *found["services"].items()]]
    click.echo("\n" + "\n".join(aligned(rows)) + "\n")
    operations: list[tuple[str, ...]] = [("OPERATION", "DIFFERS FROM WHAT IT DECLARES IN")]
    operations += [(key, _differs(row)) for key, row in found["routes"].items()]
    click.echo("\n".join(aligned(operations)) + "\n")
    calls: list[tuple[str, ...]] = [
        (each["caller"], each["service"], each["method"], each["path"]) for each in found["calls"]
    ]
    click.echo("\n".join(aligned([("CALLER", "SERVICE", "METHOD", "PATH"), *calls])))


def _service(name: str, row: dict[str, Any]) -> tuple[str, ...]:
    retries, ejection, limits = row["retries"], row["ejection"], row["limits"]
    return (
        name,
        row["balancing"],
        f"{row['connect_timeout_s']:g} s",
        str(retries["most"]),
        f"{retries['budget_percent']:g} %, at least {retries['budget_least']}",
        f"{ejection['failures']} failures",
        f"{limits['connections']}/{limits['pending']}/{limits['requests']}",
    )


def _differs(row: dict[str, Any]) -> str:
    parts = [f"{name} {value:g}" for name, value in row.items() if isinstance(value, int | float)]
    parts += [f"rate {row['rate']}"] if row["rate"] else []
    for demand in row["demands"]:
        words = [*(f"role {role}" for role in demand["roles"]), *(f"scope {scope}" for scope in demand["scopes"])]
        parts.append(f"demands {' or '.join(words)}")
    return ", ".join(parts)
