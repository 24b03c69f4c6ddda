"""`tradewind doctor`."""

from __future__ import annotations

import os
import sys

import click
import msgspec

from tradewind.cli.output import FORMAT, json_line
from tradewind.stack.checkup import examine
from tradewind.stack.state import State


@click.command()
@FORMAT
def doctor(format_: str) -> None:
    """What is missing on this machine, and the command that fixes it. Exit code 1 when something is."""
    findings = examine(State.of(os.environ), os.environ)
    for finding in findings:
        if format_ == "json":
            click.echo(json_line(msgspec.to_builtins(finding)))
            continue
        mark = click.style("ok ", fg="green") if finding.ok else click.style("bad", fg="red")
        click.echo(f"{mark} {finding.what:20} {finding.detail}")
        if finding.fix:
            click.echo(f"    fix: {finding.fix}")
    if not all(finding.ok for finding in findings):
        sys.exit(1)
