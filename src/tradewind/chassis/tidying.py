"""Housekeeping of the message tables: inbox, counted failures, replayed dead letters, the bus' log. Every instance does some of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from tradewind.chassis import attempts, deadletters, inbox, logs
from tradewind.chassis.errors import Unavailable
from tradewind.chassis.postgres import Database
from tradewind.chassis.transport import Transport

EVERY_S = 60.0
BITES = 100
PAUSE_S = 0.05
_log = logs.get_logger("tidying")


async def keep_tidy(database: Database, transport: Transport) -> None:
    """Once a minute delete what is older than anybody needs, until cancelled.

    In bites of at most 1,000 rows with a pause between, up to 100 of them: nobody waits long behind one, and the most
    that a process deletes (1,600 rows a second) is more than it is likely to write.
    """
    chores: tuple[Callable[[], Awaitable[int]], ...] = (
        partial(inbox.forget_old, database),
        partial(attempts.forget_old, database),
        partial(deadletters.forget_replayed, database),
        transport.tidy,
    )
    while True:
        await asyncio.sleep(EVERY_S)
        for chore in chores:
            try:
                await _in_bites(chore)
            except Unavailable:
                continue
            except Exception as exc:
                _log.error("tidying failed", exc_info=exc)


async def _in_bites(chore: Callable[[], Awaitable[int]]) -> None:
    for _ in range(BITES):
        if await chore() == 0:
            return
        await asyncio.sleep(PAUSE_S)
