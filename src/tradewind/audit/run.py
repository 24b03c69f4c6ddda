"""The audit itself: wait, look, check."""

from __future__ import annotations

import asyncio
import time

from tradewind.audit.books import BUS, PAYMENT, Books, Listing, open_books
from tradewind.audit.checks import CHECKS, Check
from tradewind.audit.checks.charges import charged_elsewhere
from tradewind.audit.checks.limits import hidden_transactions
from tradewind.audit.consumers import subscriptions
from tradewind.audit.invariants import INVARIANTS, Limits, Report, Violation
from tradewind.audit.kafka_copy import open_bus
from tradewind.audit.look import METER, Look, Meter, open_looks
from tradewind.audit.sources import Provider, Sources
from tradewind.audit.streams import Say, settle
from tradewind.chassis.errors import Unavailable

NO_LONGER = Limits()


async def audit(sources: Sources, *, wait_s: float, limits: Limits = NO_LONGER, say: Say = lambda _: None) -> Report:
    """Wait up to `wait_s` for the streams, then check every invariant. `say` hears what is being done.

    Raises:
        Unavailable: a database is away, refuses us, or is not migrated; it is named.
    """
    started_s = time.monotonic()
    async with (
        open_looks({**sources.databases, BUS: sources.bus_database_url}) as looks,
        open_bus(sources.bus_url, looks[BUS], subscriptions(sources.databases)) as bus,
    ):
        waited = await settle(looks, bus, timeout_s=wait_s, say=say)
        settled_s = time.monotonic()
        say("reading the provider's list of charges")
        listing, not_seen = await _listing(sources.provider, looks[PAYMENT])
        async with open_books(looks, bus, listing=listing, limits=limits) as books:
            violations, check_s = await _check(books, say)
            elsewhere = await charged_elsewhere(books)
            not_seen += elsewhere + await hidden_transactions(books)
    return Report(
        clean=not violations,
        complete=(sources.provider is None or listing is not None) and not elsewhere,
        settled=not waited.streams,
        waits_for=waited.streams,
        left_out=waited.outcomes,
        not_seen=not_seen,
        waited_s=round(settled_s - started_s, 3),
        took_s=round(time.monotonic() - settled_s, 3),
        check_s=check_s,
        checked={name: sum(violation.invariant == name for violation in violations) for name in INVARIANTS},
        violations=violations,
    )


async def _check(books: Books, say: Say) -> tuple[list[Violation], dict[str, float]]:
    """All checks at the same time, so that no server waits for another; each look does one thing after the other.

    Returns what they found, in their order, and the seconds that each had its servers work.
    """
    running: list[str] = []

    async def run(name: str, check: Check) -> tuple[list[Violation], float]:
        METER.set(meter := Meter())
        running.append(name)
        try:
            found = await check(books)
        finally:
            running.remove(name)
            say(f"checking {', '.join(running)}")
        return found, round(meter.seconds, 3)

    try:
        async with asyncio.TaskGroup() as tasks:
            pending = {name: tasks.create_task(run(name, check)) for name, check in CHECKS}
    except ExceptionGroup as group:
        raise group.exceptions[0] from group
    done = {name: task.result() for name, task in pending.items()}
    violations = [violation for found, _ in done.values() for violation in found]
    return violations, {name: seconds for name, (_, seconds) in done.items()}


async def _listing(provider: Provider | None, payment: Look) -> tuple[Listing | None, list[str]]:
    if provider is None:
        return None, ["the provider's list of charges: no provider was named"]
    since = await payment.value("SELECT clock_timestamp()")
    try:
        return Listing(provider.name, await provider.charges(), since), []
    except Unavailable as exc:
        return None, [f"the provider's list of charges: {exc.detail}"]
