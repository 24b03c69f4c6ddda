"""The money path in trouble: the bus refuses everybody, and a neighbour's transaction stays open.

Both happen to a running platform under load, and both are judged at the public API and by the audit.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence

import asyncpg

from tradewind.bench.figures import Figure, Say, figure_line
from tradewind.bench.orders import audited, prepare, wait_until_none_is_pending
from tradewind.bench.platform import Platform
from tradewind.traffic.client import Shop, Shopper, open_shop
from tradewind.traffic.load import Orders, open_loop
from tradewind.traffic.operator import operator_token

OUTAGE_S = 60.0
OUTAGE_ORDERS_PER_S = 40.0
DRAINED_AIM_S = 30.0
NEIGHBOUR_S = 60.0
NEIGHBOUR_ORDERS_PER_S = 4.0
DELAY_AIM_S = 2.0


@contextlib.asynccontextmanager
async def bus_refused(admin_url: str) -> AsyncIterator[None]:
    """Nobody gets into the bus' database while the block runs; who was in there is thrown out."""
    admin = await asyncpg.connect(admin_url)
    try:
        await admin.execute("ALTER DATABASE bus ALLOW_CONNECTIONS false")
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'bus'")
        try:
            yield
        finally:
            await admin.execute("ALTER DATABASE bus ALLOW_CONNECTIONS true")
    finally:
        await admin.close()


@contextlib.asynccontextmanager
async def open_transaction(admin_url: str) -> AsyncIterator[None]:
    """A transaction that has written stays open in a neighbour's database while the block runs."""
    admin = await asyncpg.connect(admin_url)
    try:
        await admin.execute("CREATE DATABASE neighbour")
        neighbour = await asyncpg.connect(f"{admin_url.rpartition('/')[0]}/neighbour")
        try:
            await neighbour.execute("SET idle_in_transaction_session_timeout = 0")
            await neighbour.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; CREATE TABLE held (n int)")
            yield
            # Still there, or nothing was measured.
            await neighbour.execute("COMMIT")
        finally:
            await neighbour.close()
            await admin.execute("DROP DATABASE neighbour WITH (FORCE)")
    finally:
        await admin.close()


async def measure_outage(
    platform: Platform, shop: Shop, orders: Orders, say: Say, *, seconds: float = OUTAGE_S
) -> list[Figure]:
    """Orders go on being placed while the bus is away; then: the seconds until every one of them is settled."""
    async with bus_refused(platform.admin_url):
        report = await open_loop(orders.place, rate_per_s=OUTAGE_ORDERS_PER_S, seconds=seconds)
    back_s = time.perf_counter()
    pending = await wait_until_none_is_pending(shop, operator_token(platform.keys_file))
    drained_s = time.perf_counter() - back_s
    say(
        f"  the bus away for {seconds:.0f} s: {report.due} orders due, {report.succeeded} placed,"
        f" POST p50 {report.percentile_s(0.5) * 1000:.0f} ms, p99 {report.percentile_s(0.99) * 1000:.0f} ms"
        f"{', SOME STILL PENDING' if pending else ''}"
    )
    for reason, count in report.failures.most_common():
        say(f"  failed: {count} x {reason}")
    clean = audited(platform, say) and not pending
    figures = [
        Figure(
            name="placed while the bus is away", value=report.success_ratio * 100, unit="%", aim=100.0, better="more"
        ),
        Figure(
            name="settled after it is back", value=drained_s if clean else float("inf"), unit="s", aim=DRAINED_AIM_S
        ),
    ]
    for figure in figures:
        say(figure_line(figure))
    return figures


async def measure_neighbour(
    platform: Platform, shop: Shop, shoppers: Sequence[Shopper], skus: Sequence[str], say: Say,
    *, seconds: float = NEIGHBOUR_S,
) -> Figure:  # fmt: skip
    """The slowest of the orders that are placed while a neighbour's transaction is open: from the POST to `confirmed`."""
    taken_s: list[float] = []
    async with open_transaction(platform.admin_url):
        until_s = time.perf_counter() + seconds
        while (started_s := time.perf_counter()) < until_s:
            shopper, sku = shoppers[len(taken_s) % len(shoppers)], skus[len(taken_s) % len(skus)]
            order = await shop.place_order(shopper, [(sku, 1)], "pm_card_visa")
            await shop.settled(shopper.token, order["id"])
            taken_s.append(time.perf_counter() - started_s)
            await asyncio.sleep(max(0.0, 1 / NEIGHBOUR_ORDERS_PER_S - taken_s[-1]))
    figure = Figure(name="slowest order, neighbour's transaction open", value=max(taken_s), unit="s", aim=DELAY_AIM_S)
    say(figure_line(figure))
    say(f"  of {len(taken_s)} orders in {seconds:.0f} s")
    return figure


async def run(platform: Platform, say: Say, *, seed: int) -> list[Figure]:
    """Both, on a running platform."""
    async with open_shop(platform.url, connections=200) as shop:
        shoppers, skus = await prepare(shop, operator_token(platform.keys_file))
        orders = Orders(shop, shoppers, skus, seed=seed)
        return [
            *await measure_outage(platform, shop, orders, say),
            await measure_neighbour(platform, shop, shoppers, skus, say),
        ]
