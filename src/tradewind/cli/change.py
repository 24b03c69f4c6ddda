"""`tradewind restart` and `tradewind scale`: changes to a running stack."""

from __future__ import annotations

import os
from typing import Any

import click

from tradewind.stack.client import ask
from tradewind.stack.state import State


@click.command()
@click.argument("name")
def restart(name: str) -> None:
    """Restart a room or a process. NAME: order, order-1, envoy, ...

    A room's new instance is ready before the old one drains, so no request is lost; then it takes over the old one's
    name. Engines and the control plane stop and start.
    """
    _follow(State.of(os.environ), verb="restart", name=name)
    click.echo(f"{name} restarted")


@click.command()
@click.argument("target", metavar="NAME=N")
def scale(target: str) -> None:
    """Run N instances of room NAME: `tradewind scale order=2`.

    Returns when the new ones take requests, or when the spare ones have drained and ended.
    """
    name, separator, count = target.partition("=")
    if not separator or not count.isdigit():
        raise click.UsageError(f"{target!r} is not of the form NAME=N, for example order=2")
    _follow(State.of(os.environ), verb="scale", name=name, count=int(count))
    click.echo(f"{name}={count} runs")


def _follow(state: State, **request: Any) -> None:
    """Show what happens until it is done."""
    for event in ask(state, **request):
        if event["event"] == "process":
            click.echo(f"  {event['name']}: {event['state']}")
