"""The live table of `tradewind up` on a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tradewind.cli.output import COLUMNS, cells, state_colour
from tradewind.cli.reports import TextReport
from tradewind.stack.host import Host
from tradewind.stack.state import State

REFRESH_EVERY_S = 1.0
_SHOWN = tuple(name for name in COLUMNS if name not in {"UPTIME", "MEMORY"})


class LiveReport:
    """A table of all processes that stays at the bottom of the terminal, with what happens scrolling above it."""

    def __init__(self, state: State) -> None:
        self._console = Console()
        self._lines = TextReport(state)

    def __call__(self, event: dict[str, Any]) -> None:
        if event["event"] == "process" and "exit_code" not in event:
            return  # the table shows it
        for line in self._lines.text(event):
            self._console.print(Text(line))

    @asynccontextmanager
    async def watching(self, host: Host) -> AsyncIterator[None]:
        """Keep the table on the screen while the context is open."""
        # No refresh thread: the supervisor forks, and a forked thread's locks are nobody's.
        with Live(
            get_renderable=lambda: self._table(host), console=self._console, auto_refresh=False, transient=True
        ) as live:
            task = asyncio.create_task(_refresh(live))
            try:
                yield
            finally:
                task.cancel()

    def _table(self, host: Host) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in _SHOWN:
            table.add_column(name, no_wrap=name != "WAITS FOR")
        for row in host.supervisor.table() if host.supervisor else []:
            shown = zip(COLUMNS, cells(row), strict=True)
            colour = state_colour(row["state"])
            table.add_row(*(Text(cell, colour if name == "STATE" else "") for name, cell in shown if name in _SHOWN))
        return table


async def _refresh(live: Live) -> None:
    while True:
        live.refresh()
        await asyncio.sleep(REFRESH_EVERY_S)
