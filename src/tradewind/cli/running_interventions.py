"""What is done to the traffic of the platform here, as `tradewind ps` says it. Light: `ps` has to answer at once."""

from __future__ import annotations

import time

from tradewind.cli.output import duration
from tradewind.mesh.intervention_table import read_interventions, still_running
from tradewind.mesh.interventions import Intervention, described, target_of
from tradewind.mesh.state_file import StateFile
from tradewind.stack.state import State


def running_here(state: State) -> list[Intervention]:
    """The interventions of this platform, from its state folder: also while its control plane is away."""
    file = StateFile(state.folder / "gateway" / "interventions.json")
    return still_running(read_interventions(file), time.time())


def warning_line(intervention: Intervention) -> str:
    """What `tradewind ps` says of one."""
    left_s = intervention.expires_at - time.time()
    return (
        f"! {intervention.kind} on {target_of(intervention.what)}: {described(intervention.what)}"
        f" (by {intervention.set_by}, ends in {duration(max(0.0, left_s))}; tradewind mesh end {intervention.id})"
    )
