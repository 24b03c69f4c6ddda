"""`tradewind mesh`: what the data plane has loaded, and what is done to its traffic."""

from __future__ import annotations

import click

from tradewind.cli.interventions import COMMANDS


@click.group()
def mesh() -> None:
    """The mesh: faults, canaries, shadow traffic and maintenance, each for a while and never silently."""


for command in COMMANDS:
    mesh.add_command(command)
