"""Tasks that run beside something else, and end with it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any


@contextlib.asynccontextmanager
async def alongside(*tasks: asyncio.Task[Any]) -> AsyncIterator[None]:
    """Let `tasks` run while the context lasts; they have ended when it is left."""
    try:
        yield
    finally:
        await end(*tasks)


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel `tasks`, and return when they have ended, however they did."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def growing_pauses(first_s: float, longest_s: float) -> Iterator[float]:
    """Pauses between tries, each twice the one before up to `longest_s`, without end.

    With jitter (half to whole), so that all who wait for one neighbour do not come back in the same instant.
    """
    pause_s = first_s
    while True:
        yield pause_s * random.uniform(0.5, 1.0)
        pause_s = min(pause_s * 2, longest_s)
