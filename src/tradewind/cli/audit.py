"""`tradewind audit`."""

from __future__ import annotations

import asyncio
import re
import sys

import click

from tradewind.cli.output import FORMAT, json_line

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, None: 1.0}


@click.command()
@click.option(
    "--wait", "wait", default="30s", show_default=True, help="How long to wait for the streams: 500ms, 30s, 2m."
)
@FORMAT
def audit(wait: str, format_: str) -> None:
    """Check every invariant across all databases; exit code 0 only if none is violated.

    First waits until the streams have passed the positions read at the start, so it may run beside traffic.
    """
    from tradewind.audit.invariants import INVARIANTS
    from tradewind.audit.run import audit as run_audit
    from tradewind.chassis.errors import Problem
    from tradewind.cli.platform_access import audit_sources
    from tradewind.stack.errors import StackError

    try:
        report = asyncio.run(run_audit(audit_sources(), wait_s=_seconds(wait)))
    except Problem as problem:
        raise StackError(problem.detail, "is the platform up? `tradewind ps`") from problem
    if format_ == "json":
        click.echo(json_line(report))
    else:
        for name, sentence in INVARIANTS.items():
            count = report.checked[name]
            word = click.style("holds", fg="green") if count == 0 else click.style(f"{count} violations", fg="red")
            click.echo(f"{name:<4} {sentence}: {word}")
        for violation in report.violations:
            click.echo(f"{violation.invariant:<4} {violation.subject}: {violation.detail}", err=True)
        if not report.settled:
            click.echo(f"the streams had not passed after {report.waited_s:.1f} s", err=True)
        click.echo(f"waited {report.waited_s:.1f} s, checked in {report.took_s:.1f} s")
    sys.exit(0 if report.clean else 1)


def _seconds(text: str) -> float:
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise click.BadParameter(f"{text!r} is no duration; 500ms, 30s and 2m are", param_hint="--wait")
    return float(found.group(1)) * _SECONDS[found.group(2)]
