"""`tradewind audit`."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
import msgspec

from tradewind.cli.output import FORMAT, json_line, seconds_of

if TYPE_CHECKING:
    from tradewind.audit.invariants import Report
    from tradewind.audit.sources import Sources

EXIT_VIOLATED = 1
EXIT_NOT_SETTLED = 17
TELL_EVERY_S = 2.0
MOST_NAMED = 50
"""Violations of one invariant that the text names; `--format json` names all."""

_FIXES = {
    "database-unavailable": "is the platform up? `tradewind ps`, `tradewind doctor`",
    "database-refused": "check the address, and the rights of its role",
    "database-not-migrated": "`tradewind migrate` with this version",
}


@click.command()
@click.option(
    "--wait", "wait", default="30s", show_default=True, help="How long to wait for the streams: 500ms, 30s, 2m."
)
@click.option(
    "--bus-since",
    envvar="TRADEWIND_BUS_SINCE",
    metavar="TIME",
    help="When the bus was changed for another, such as 2026-03-01T12:00:00Z: what was told before need not be on it."
    "  [default: TRADEWIND_BUS_SINCE, or what `up` has noted]",
)
@FORMAT
def audit(wait: str, bus_since: str | None, format_: str) -> None:
    """Check every invariant across all databases, and name each violation.

    First waits until the streams have passed the positions read at the start, so it may run beside traffic; what is
    still on its way then is left for the next audit. Only reads.

    The databases are those of the platform in this folder, or those of ORDER_DATABASE_URL, ..., BUS_URL.

    Exit code 0: all hold. 1: something is violated, or could not be looked at. 17: what was checked holds, but the
    streams had not passed within --wait.
    """
    from tradewind.chassis.errors import Problem
    from tradewind.cli.platform_access import audit_sources
    from tradewind.cli.platform_access import bus_since as noted
    from tradewind.stack.errors import StackError

    wait_s, bus_age_s = seconds_of(wait, "--wait"), _age_s(_moment(bus_since) or noted())
    try:
        report = asyncio.run(_audited(audit_sources(), wait_s, bus_age_s))
    except Problem as problem:
        raise StackError(problem.detail, _FIXES.get(problem.code, "what says its server's log?")) from problem
    if format_ == "json":
        click.echo(json_line(report))
    else:
        _print(report)
    sys.exit(exit_code(report))


def exit_code(report: Report) -> int:
    """What the verb exits with. A violation counts for more than a wait that was too short."""
    if not report.clean or not report.complete:
        return EXIT_VIOLATED
    return 0 if report.settled else EXIT_NOT_SETTLED


def _moment(since: str | None) -> datetime | None:
    if not since:
        return None
    try:
        moment = datetime.fromisoformat(since)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise click.BadParameter(
            f"{since!r} is no time with an offset; 2026-03-01T12:00:00Z is", param_hint="--bus-since"
        )
    return moment


def _age_s(since: datetime | None) -> float | None:
    """How long ago that was, in seconds."""
    return None if since is None else (datetime.now(UTC) - since).total_seconds()


async def _audited(sources: Sources, wait_s: float, bus_age_s: float | None) -> Report:
    from tradewind.audit.run import NO_LONGER
    from tradewind.audit.run import audit as run_audit

    limits = NO_LONGER
    if bus_age_s is not None:
        limits = msgspec.structs.replace(limits, retention_s=max(0.0, min(limits.retention_s, bus_age_s)))
    doing = ["connecting"]
    telling = asyncio.create_task(_tell(doing))
    try:
        return await run_audit(sources, wait_s=wait_s, limits=limits, say=doing.append)
    finally:
        telling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await telling


async def _tell(doing: list[str]) -> None:
    """Say what is being done, where it takes long enough to wonder."""
    started_s = time.monotonic()
    while True:
        await asyncio.sleep(TELL_EVERY_S)
        click.echo(f"{time.monotonic() - started_s:4.0f} s  {doing[-1]}", err=True)


def _print(report: Report) -> None:
    from tradewind.audit.invariants import INVARIANTS

    for name, sentence in INVARIANTS.items():
        count = report.checked[name]
        word = click.style("holds", fg="green")
        if count:
            word = click.style("violated once" if count == 1 else f"violated {count} times", fg="red")
        click.echo(f"{name:<4} {sentence}: {word}")
        named = [violation for violation in report.violations if violation.invariant == name]
        for violation in named[:MOST_NAMED]:
            click.echo(f"       {violation.subject}: {violation.detail}")
            click.echo(click.style(f"         {violation.next_step}", dim=True))
        if count > MOST_NAMED:
            click.echo(f"       and {count - MOST_NAMED} more: --format json names them all")
    for sentence in report.not_seen:
        click.echo(f"not checked: {sentence}")
    for sentence in report.left_out:
        click.echo(f"left for the next audit: {sentence}")
    for sentence in report.waits_for:
        click.echo(f"not settled after {report.waited_s:.1f} s: {sentence}")
    click.echo(f"waited {report.waited_s:.1f} s, checked in {report.took_s:.1f} s")
