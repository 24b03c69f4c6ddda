"""How long the audit takes on a million orders, check by check, and how much memory of its own it needs.

A platform of its own lives through a story; it is stopped, its story multiplied (`growth.py`), and started again: then the
command is run as an operator runs it, beside the idle platform, on the books of all services and the provider.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import psutil

from tradewind.bench.figures import Figure, Say, figure_line, table
from tradewind.bench.growth import Growth, multiply, multiply_charges
from tradewind.bench.platform import CommandFailed, Platform
from tradewind.chassis.ids import new_id
from tradewind.stack.postgres import PostgresEngine
from tradewind.stack.rooms import rooms_with_database
from tradewind.traffic.client import Shop, Shopper, open_shop
from tradewind.traffic.operator import operator_token

AIM_S = 30.0
DAYS = 5.5
"""Less than the bus keeps, so that every order has all its events there."""

STOCK = 1_000_000_000
SEEDING = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_size": "16GB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}
MEMORY_POLL_S = 0.05
CONFIRMED, SHIPPED, DECLINED, REFUNDED, PARTLY, CANCELLED = 10, 4, 2, 1, 2, 1
STORY = CONFIRMED + SHIPPED + DECLINED + REFUNDED + PARTLY + CANCELLED
"""Orders of the story."""


async def tell(shop: Shop, admin: str) -> None:
    """The story: twenty orders of two customers, and what usually becomes of orders."""
    run = new_id()[-6:]
    for sku in ("mug", "cap", "pen"):
        await shop.create_product(admin, sku, sku, 1_999, STOCK)
    ada, bob = [
        await shop.register(f"{name}-{run}@example.test", f"correct horse {run}", name) for name in ("Ada", "Bob")
    ]
    whoever = (ada, bob)
    async with asyncio.TaskGroup() as lives:
        for number in range(STORY):
            lives.create_task(_live(shop, admin, whoever[number % 2], number))


async def _live(shop: Shop, admin: str, shopper: Shopper, number: int) -> None:
    fate = next(
        fate
        for fate, upto in (
            ("declined", DECLINED),
            ("refunded", DECLINED + REFUNDED),
            ("partly", DECLINED + REFUNDED + PARTLY),
            ("cancelled", DECLINED + REFUNDED + PARTLY + CANCELLED),
            ("shipped", STORY - CONFIRMED),
            ("confirmed", STORY),
        )
        if number < upto
    )
    method = "pm_card_chargeDeclined" if fate == "declined" else "pm_card_visa"
    placed = await shop.place_order(shopper, [("mug", 1), ("cap", 2)][: 1 + number % 2], method)
    path = f"/v1/orders/{placed['id']}"
    await shop.settled(shopper.token, placed["id"])
    match fate:
        case "refunded":
            await shop.refund(admin, placed["id"], "broken")
            await shop.until(shopper.token, path, lambda order: order["status"] == "cancelled")
        case "partly":
            await shop.refund(admin, placed["id"], "scratched", {"amount_minor": 150, "currency": "EUR"})
        case "cancelled":
            await shop.call("POST", f"{path}/cancel", token=shopper.token, body={}, key=new_id())
            await shop.until(shopper.token, path, lambda order: order["refunded"] == order["total"])
        case "shipped":
            await shop.call(
                "POST", f"{path}/ship", token=admin, body={"carrier": "DHL", "tracking": "1Z"}, key=new_id()
            )
        case _:
            pass


async def _tell(platform: Platform) -> None:
    async with open_shop(platform.url) as shop:
        await tell(shop, operator_token(platform.keys_file))


async def _grow(platform: Platform, growth: Growth, say: Say) -> None:
    """Multiply the story in all databases of a platform that is down."""
    state = platform.state
    engine = PostgresEngine(
        state.folder / "postgres", password=state.secrets().get("postgres"), log=state.log("postgres"), settings=SEEDING
    )
    async with engine:
        for name in (*(f"{room}_service" for room in rooms_with_database()), "bus"):
            started_s = time.perf_counter()
            added = await multiply(_in(engine.admin_url, name), growth)
            say(f"  {name:<22}{added:>12,} rows in {time.perf_counter() - started_s:.0f} s")
    added = multiply_charges(state.folder / "sandbox" / "psp.sqlite3", growth)
    say(f"  {'psp-sandbox':<22}{added:>12,} rows")


def _in(url: str, database: str) -> str:
    return urlsplit(url)._replace(path=f"/{database}").geturl()


def measure(folder: Path, say: Say, *, orders: int) -> list[Figure]:
    """Fill a platform in `folder` with `orders` orders and audit it: seconds of the command, and its peak of memory.

    Raises:
        CommandFailed: the audit did not find the books in order.
    """
    platform = Platform(folder)
    try:
        platform.up()
        asyncio.run(_tell(platform))
        platform.command("audit", "--wait", "60s")
        platform.down()
        growth = Growth(copies=max(orders // STORY - 1, 1), days=DAYS)
        asyncio.run(_grow(platform, growth, say))
        platform.up()
        return _audited(platform, STORY * (growth.copies + 1), say)
    finally:
        platform.down("--volumes")


def _audited(platform: Platform, orders: int, say: Say) -> list[Figure]:
    started_s = time.perf_counter()
    process = platform.started("audit", "--format", "json", "--wait", "60s")
    peak_mb = 0.0
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            peak_mb = max(peak_mb, psutil.Process(process.pid).memory_info().rss / 1e6)
        time.sleep(MEMORY_POLL_S)
    said, complaint = process.communicate()
    taken_s = time.perf_counter() - started_s
    if process.returncode != 0:
        raise CommandFailed(f"the audit exited with {process.returncode}: {said[:2_000]!r}{complaint[-2_000:]!r}")
    by_check = msgspec.json.decode(said)["check_s"]
    rows = [(name, f"{seconds:.2f}") for name, seconds in sorted(by_check.items(), key=lambda item: -item[1])]
    for line in table(("check (they run at the same time)", "s"), rows):
        say(line)
    figures = [
        Figure(name=f"audit of {orders:,} orders", value=taken_s, unit="s", aim=AIM_S),
        Figure(name="memory of the audit's process, peak", value=peak_mb, unit="MB"),
    ]
    for figure in figures:
        say(figure_line(figure))
    return figures
