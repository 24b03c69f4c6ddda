"""The audit itself: wait, look, check."""

from __future__ import annotations

import contextlib
import time

from tradewind.audit.checks import CHECKS
from tradewind.audit.invariants import INVARIANTS, Report, Violation
from tradewind.audit.sources import CONNECT_NAME, Look, Sources, open_books
from tradewind.audit.streams import settle
from tradewind.chassis.postgres import dedicated_connection


async def audit(sources: Sources, *, wait_s: float) -> Report:
    """Wait up to `wait_s` for the streams, then check every invariant.

    Raises:
        Unavailable: a database or the provider is away.
    """
    started_s = time.monotonic()
    async with contextlib.AsyncExitStack() as stack:
        looks: dict[str, Look] = {}
        for name, url in {**sources.databases, "bus": sources.bus_url}.items():
            connection = await dedicated_connection(url, application_name=CONNECT_NAME)
            stack.push_async_callback(connection.close)
            looks[name] = Look(connection)
        began_at = await looks["bus"].value("SELECT clock_timestamp()")
        settled = await settle(looks, timeout_s=wait_s)
    waited_s = time.monotonic() - started_s
    violations: list[Violation] = []
    async with open_books(sources, began_at) as books:
        for check in CHECKS:
            violations += await check(books)
    return Report(
        clean=not violations and settled,
        settled=settled,
        waited_s=round(waited_s, 3),
        took_s=round(time.monotonic() - started_s - waited_s, 3),
        checked={name: sum(violation.invariant == name for violation in violations) for name in INVARIANTS},
        violations=violations,
    )
