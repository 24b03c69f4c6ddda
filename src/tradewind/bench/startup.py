"""How long it takes until an order can be placed, from nothing and warm, and how much memory it all takes."""

from __future__ import annotations

from tradewind.bench.figures import Figure, Say, figure_line, table
from tradewind.bench.platform import Platform

COLD_AIM_S = 15.0
WARM_AIM_S = 6.0
MEMORY_AIM_MB = 900.0


def measure_start(platform: Platform, say: Say) -> list[Figure]:
    """Start from an empty folder, stop, start again; the platform runs afterwards."""
    cold = Figure(name="ready from nothing (initdb, migrations)", value=platform.up(), unit="s", aim=COLD_AIM_S)
    say(figure_line(cold))
    platform.down()
    warm = Figure(name="ready, warm", value=platform.up(), unit="s", aim=WARM_AIM_S)
    say(figure_line(warm))
    return [cold, warm]


def measure_memory(platform: Platform, say: Say) -> Figure:
    """Proportional set size of everything, the supervisor too."""
    rows = sorted(platform.processes(), key=lambda row: -row["memory_mb"])
    total = sum(row["memory_mb"] for row in rows)
    for line in table(("memory (PSS)", "MB"), [(row["name"], f"{row['memory_mb']:.0f}") for row in rows]):
        say(line)
    figure = Figure(name="memory of the whole platform (PSS)", value=total, unit="MB", aim=MEMORY_AIM_MB)
    say(figure_line(figure))
    return figure
