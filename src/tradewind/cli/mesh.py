"""`tradewind mesh`: what the data plane has loaded, and what is done to its traffic."""

from __future__ import annotations

import click

from tradewind.cli.interventions import COMMANDS
from tradewind.cli.mesh_views import VIEWS


@click.group()
def mesh() -> None:
    """The mesh: what Envoy has loaded; faults, canaries, shadow traffic and maintenance, each for a while and never silently."""


for command in (*VIEWS, *COMMANDS):
    mesh.add_command(command)
