"""`tradewind bench`."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tradewind.bench.figures import Figure

PARTS = (
    "start",
    "memory",
    "orders",
    "trouble",
    "gateway",
    "mesh",
    "rolling",
    "messaging",
    "kafka",
    "outboxes",
    "books",
    "audit",
)
ON_A_PLATFORM = frozenset({"start", "memory", "orders", "trouble", "gateway", "mesh", "rolling"})
"""Parts that share one; it is started for any of them."""


@click.command()
@click.option("--only", type=click.Choice(PARTS), multiple=True, help="These parts only; default: all.")
@click.option(
    "--rate",
    "rates",
    type=float,
    multiple=True,
    default=(60.0, 80.0, 100.0, 120.0, 140.0, 160.0),
    show_default=True,
    help="Orders a second; it ends at the first that is not carried.",
)
@click.option("--seconds", type=float, default=20.0, show_default=True, help="How long each rate is held.")
@click.option(
    "--audited", type=int, default=1_000_000, show_default=True, help="Orders in the books that the audit is timed on."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Which shoppers buy what.")
def bench(only: tuple[str, ...], rates: tuple[float, ...], seconds: float, audited: int, seed: int) -> None:
    """Measure a platform of its own, in a temporary folder, and print the figures.

    The edge's rate limits are raised for it: here the load is the measurement.
    """
    from tradewind.bench import audit, books, messaging, outboxes
    from tradewind.bench.figures import figure_line
    from tradewind.chassis import logs

    logs.configure("bench", "bench", "error", "text")
    wanted = set(only or PARTS)
    figures: list[Figure] = []
    if wanted & ON_A_PLATFORM:
        figures += _on_a_platform(wanted, rates=rates, seconds=seconds, seed=seed)
    if "messaging" in wanted:
        click.echo("\nmessaging")
        figures += asyncio.run(messaging.measure(click.echo))
    if "kafka" in wanted:
        click.echo("\nmessaging on Kafka")
        figures += asyncio.run(messaging.measure_kafka(click.echo))
    if "outboxes" in wanted:
        click.echo("\nways to read an outbox")
        figures += asyncio.run(outboxes.measure(click.echo))
    if "books" in wanted:
        click.echo("\nways to keep a ledger and an inbox")
        figures += asyncio.run(books.measure(click.echo))
    if "audit" in wanted:
        click.echo(f"\naudit, on {audited:,} orders")
        with tempfile.TemporaryDirectory(prefix="tradewind-bench-") as folder:
            figures += audit.measure(Path(folder) / "state", click.echo, orders=audited)
    click.echo("\nall figures")
    for figure in figures:
        click.echo(figure_line(figure))


def _on_a_platform(wanted: set[str], *, rates: tuple[float, ...], seconds: float, seed: int) -> list[Figure]:
    """The parts that share one platform, in a temporary folder."""
    from tradewind.bench import gateway, mesh, orders, rolling, startup, trouble
    from tradewind.bench.platform import Platform

    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="tradewind-bench-") as folder:
        platform = Platform(Path(folder) / "state")
        try:
            click.echo("start")
            figures += startup.measure_start(platform, click.echo)
            if "memory" in wanted:
                click.echo("\nmemory, idle")
                figures.append(startup.measure_memory(platform, click.echo))
            if "orders" in wanted:
                click.echo("\norders")
                figures += asyncio.run(orders.run(platform, click.echo, rates=rates, seconds=seconds, seed=seed))
            if "trouble" in wanted:
                click.echo("\ntrouble")
                figures += asyncio.run(trouble.run(platform, click.echo, seed=seed))
            if "gateway" in wanted:
                click.echo("\ngateway")
                figures += asyncio.run(gateway.measure(platform, click.echo))
            if "mesh" in wanted:
                click.echo("\nthe mesh")
                figures += asyncio.run(mesh.measure(platform, click.echo))
            if "rolling" in wanted:
                click.echo("\nrolling restarts under traffic")
                figures += asyncio.run(rolling.run(platform, click.echo, seed=seed))
        finally:
            platform.down("--volumes")
    return figures
