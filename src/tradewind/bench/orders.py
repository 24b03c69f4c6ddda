"""How long an order takes to settle on an idle platform, and how many a second the platform carries."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence

from tradewind.bench.figures import Figure, Say, figure_line, table
from tradewind.bench.platform import CommandFailed, Platform
from tradewind.bench.sampling import cpu_by_name, difference, transactions_by_database
from tradewind.chassis.ids import new_id
from tradewind.traffic.client import Shop, Shopper, open_shop
from tradewind.traffic.load import Orders, Report, open_loop
from tradewind.traffic.operator import operator_token

PRODUCTS = 50
SHOPPERS = 100
STOCK = 10_000_000
IDLE_ORDERS = 40
SETTLE_POLL_S = 0.004
STATISTICS_LAG_S = 1.5
DRAIN_TIMEOUT_S = 120.0

SETTLE_AIM_MS = 150.0
ORDERS_AIM_PER_S = 120.0
CARRIED_SHARE = 0.95


async def prepare(shop: Shop, admin: str) -> tuple[list[Shopper], list[str]]:
    """Fill the catalogue and register shoppers."""
    run = new_id()[-6:]
    skus = [f"bench-{run}-{number}" for number in range(PRODUCTS)]
    for sku in skus:
        await shop.create_product(admin, sku, f"Article {sku}", 1_999, STOCK)
    gate = asyncio.Semaphore(8)  # argon2 is meant to be slow

    async def register(number: int) -> Shopper:
        async with gate:
            return await shop.register(f"b{number}-{run}@example.test", f"correct horse {run}", f"Buyer {number}")

    return list(await asyncio.gather(*(register(number) for number in range(SHOPPERS)))), skus


async def measure_settling(shop: Shop, shoppers: Sequence[Shopper], skus: Sequence[str], say: Say) -> Figure:
    """Place orders one after the other and wait for each: from the POST to `confirmed`, as a client sees it."""
    taken_s: list[float] = []
    for number in range(IDLE_ORDERS):
        shopper = shoppers[number % len(shoppers)]
        started_s = time.perf_counter()
        order = await shop.place_order(shopper, [(skus[number % len(skus)], 1)], "pm_card_visa")
        while (await shop.order(shopper.token, order["id"]))["status"] != "confirmed":
            await asyncio.sleep(SETTLE_POLL_S)
        taken_s.append(time.perf_counter() - started_s)
    taken_s.sort()
    p50 = Figure(
        name="an order settles, idle, p50", value=taken_s[len(taken_s) // 2] * 1000, unit="ms", aim=SETTLE_AIM_MS
    )
    say(figure_line(p50))
    say(
        figure_line(
            Figure(name="an order settles, idle, p95", value=taken_s[int(len(taken_s) * 0.95)] * 1000, unit="ms")
        )
    )
    return p50


async def measure_throughput(
    platform: Platform, shop: Shop, admin: str, orders: Orders, say: Say, *, rate_per_s: float, seconds: float
) -> Figure:
    """Place at `rate_per_s`, wait until every order is confirmed, and audit: orders a second over all of it."""
    admin_url = platform.admin_url
    processes = platform.processes()
    extra = {"load (this program)": os.getpid()}
    await asyncio.sleep(STATISTICS_LAG_S)
    cpu_before, tx_before = cpu_by_name(processes, extra), await transactions_by_database(admin_url)
    started_s = time.perf_counter()
    before = len(orders.placed)
    report = await open_loop(orders.place, rate_per_s=rate_per_s, seconds=seconds)
    pending = await wait_until_none_is_pending(shop, admin)
    taken_s = time.perf_counter() - started_s
    cpu = difference(cpu_before, cpu_by_name(processes, extra))
    await asyncio.sleep(STATISTICS_LAG_S)
    tx = difference(tx_before, await transactions_by_database(admin_url))
    placed = len(orders.placed) - before
    _say_report(say, report, placed, pending, taken_s)
    _say_costs(say, cpu, tx, placed)
    clean = audited(platform, say)
    achieved = placed / taken_s if clean and not pending else 0.0
    figure = Figure(name=f"orders a second, {rate_per_s:.0f} due", value=achieved, unit="per s")
    say(figure_line(figure))
    return figure


async def wait_until_none_is_pending(shop: Shop, admin: str) -> int:
    """Wait until no order is pending, at most `DRAIN_TIMEOUT_S`; returns 0, or that there are some left."""
    deadline_s = time.perf_counter() + DRAIN_TIMEOUT_S
    while time.perf_counter() < deadline_s:
        answer = await shop.call("GET", "/v1/orders?customer_id=all&status=pending&limit=1", token=admin)
        if not answer.body["items"]:
            return 0
        await asyncio.sleep(0.1)
    return len(answer.body["items"])


def _say_report(say: Say, report: Report, placed: int, pending: int, taken_s: float) -> None:
    say(
        f"  {report.due} due in {report.seconds:.0f} s, {placed} placed ({report.success_ratio:.2%}),"
        f" POST p50 {report.percentile_s(0.5) * 1000:.0f} ms, p99 {report.percentile_s(0.99) * 1000:.0f} ms,"
        f" all settled after {taken_s:.1f} s{', SOME STILL PENDING' if pending else ''}"
    )
    for reason, count in report.failures.most_common():
        say(f"  failed: {count} x {reason}")


def _say_costs(say: Say, cpu: dict[str, float], tx: dict[str, float], placed: int) -> None:
    orders = max(placed, 1)
    total = sum(cpu.values())
    rows = [
        (name, f"{seconds * 1000 / orders:.2f}") for name, seconds in sorted(cpu.items(), key=lambda item: -item[1])
    ]
    for line in table(("CPU per order", "ms"), [*rows, ("all", f"{total * 1000 / orders:.2f}")]):
        say(line)
    rows = [(name, f"{count / orders:.2f}") for name, count in sorted(tx.items(), key=lambda item: -item[1])]
    for line in table(("transactions per order", ""), [*rows, ("all", f"{sum(tx.values()) / orders:.2f}")]):
        say(line)


def audited(platform: Platform, say: Say) -> bool:
    """Whether the audit finds no violation; says which it found."""
    try:
        platform.command("audit", "--wait", "60s", timeout_s=120)
    except CommandFailed as exc:
        say(f"  the audit found violations: {exc}")
        return False
    return True


async def run(platform: Platform, say: Say, *, rates: Sequence[float], seconds: float, seed: int) -> list[Figure]:
    """All figures about orders, on a running platform."""
    admin = operator_token(platform.keys_file)
    async with open_shop(platform.url, connections=200) as shop:
        shoppers, skus = await prepare(shop, admin)
        orders = Orders(shop, shoppers, skus, seed=seed)
        figures = [await measure_settling(shop, shoppers, skus, say)]
        for rate_per_s in rates:
            say(f"\n{rate_per_s:.0f} orders a second for {seconds:.0f} s")
            admin = operator_token(platform.keys_file)
            figures.append(
                await measure_throughput(platform, shop, admin, orders, say, rate_per_s=rate_per_s, seconds=seconds)
            )
            if figures[-1].value < rate_per_s * CARRIED_SHARE:
                say("  not carried, so nothing above it is tried")
                break
    most = max(figure.value for figure in figures[1:])
    carried = Figure(
        name="most orders placed, paid, confirmed, audited",
        value=most,
        unit="per s",
        aim=ORDERS_AIM_PER_S,
        better="more",
    )
    return [*figures, carried]
