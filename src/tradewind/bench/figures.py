"""A figure, the aim it is held against, and how both are printed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

Say = Callable[[str], None]


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One measured number. `aim` is what it should be at most or at least; None: informative only."""

    name: str
    value: float
    unit: str
    aim: float | None = None
    better: Literal["less", "more"] = "less"

    @property
    def met(self) -> bool | None:
        """Whether the aim is reached; None without one."""
        if self.aim is None:
            return None
        return self.value <= self.aim if self.better == "less" else self.value >= self.aim


def figure_line(figure: Figure) -> str:
    """`settle p50    41.2 ms    aim: at most 150    met`."""
    line = f"  {figure.name:<42}{_number(figure.value):>10} {figure.unit:<8}"
    if figure.aim is None:
        return line.rstrip()
    bound = "at most" if figure.better == "less" else "at least"
    return f"{line}  aim: {bound} {_number(figure.aim):<8} {'met' if figure.met else 'MISSED'}"


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned columns, the first to the left and all others to the right."""
    widths = [max(len(row[column]) for row in (heading, *rows)) for column in range(len(heading))]
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (heading, *rows)
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"
