"""`tradewind chaos`."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tradewind.cli.output import FORMAT, json_line

if TYPE_CHECKING:
    from tradewind.chaos.plan import Kind, Options
    from tradewind.chaos.report import Report


@click.command()
@click.option("--seed", type=int, default=1, show_default=True, help="Which faults, when and where.")
@click.option("--runs", type=click.IntRange(1, 1_000), default=1, help="So many seeds in a row, from --seed on.")
@click.option("--seconds", type=click.FloatRange(1, 3_600), default=60.0, show_default=True, help="About how long.")
@click.option("--rate", type=click.FloatRange(1, 200), default=20.0, show_default=True, help="Requests a second.")
@click.option("--faults", default="", metavar="KIND,...", help="These kinds only; default: all.")
@click.option("--kafka", is_flag=True, help="Events travel on an Apache Kafka of the run's own.")
@click.option("--plan", "plan_only", is_flag=True, help="Print what would be done, and do nothing.")
@click.option("--keep", is_flag=True, help="Keep state and logs of a clean run too.")
@click.option(
    "--write", type=click.Path(path_type=Path), help="Write the table of all runs into this file, as Markdown."
)
@FORMAT
def chaos(
    seed: int,
    runs: int,
    seconds: float,
    rate: float,
    faults: str,
    *,
    kafka: bool,
    plan_only: bool,
    keep: bool,
    write: Path | None,
    format_: str,
) -> None:
    """Break a platform of its own while customers use it, then prove that nothing was lost or doubled.

    The faults are drawn from the seed: the same seed and options make the same faults. Afterwards every invariant is
    audited, and what the customers were told is compared with the databases and the provider's books.

    Exit code 0: clean. 1: something is not as it must be; the state folder with all logs is kept, and named.
    """
    from tradewind.chaos.plan import Options
    from tradewind.chaos.report import table

    kinds = _kinds(faults)
    every = [
        Options(seed=number, seconds=seconds, rate_per_s=rate, kinds=kinds, keep=keep, kafka=kafka)
        for number in range(seed, seed + runs)
    ]
    if plan_only:
        for options in every:
            _print_plan(options, as_json=format_ == "json")
        return
    reports = [_run(options, as_json=format_ == "json") for options in every]
    if write is not None:
        write.write_text(table(reports), encoding="utf-8")
    sys.exit(0 if all(report.clean for report in reports) else 1)


def _kinds(text: str) -> tuple[Kind, ...]:
    from tradewind.chaos.plan import KINDS

    wanted = [word.strip() for word in text.split(",") if word.strip()]
    if unknown := sorted(set(wanted) - set(KINDS)):
        raise click.BadParameter(f"{', '.join(unknown)}: not one of {', '.join(KINDS)}", param_hint="--faults")
    return tuple(kind for kind in KINDS if not wanted or kind in wanted)


def _run(options: Options, *, as_json: bool) -> Report:
    """One run, told while it goes on; the report is a line of JSON, or a few lines of text."""
    from tradewind.chaos.report import summary
    from tradewind.chaos.run import run
    from tradewind.cli.platform_access import audit_sources

    def say(line: str) -> None:
        click.echo(line, err=as_json)

    if not as_json:
        _print_plan(options, as_json=False)
    folder = Path(tempfile.mkdtemp(prefix=f"tradewind-chaos-{options.seed}-"))
    report = asyncio.run(run(options, folder, audit_sources, say))
    for line in [json_line(report)] if as_json else summary(report):
        click.echo(line)
    return report


def _print_plan(options: Options, *, as_json: bool) -> None:
    from tradewind.chaos.plan import make_plan

    waves = make_plan(options)
    if as_json:
        click.echo(json_line(waves))
        return
    click.echo(f"seed {options.seed}, {options.rate_per_s:g} requests a second, {len(waves)} waves:")
    for number, wave in enumerate(waves, 1):
        struck = " + ".join(
            f"{strike.fault}{f' after {strike.after_s:.1f} s' if strike.after_s else ''}" for strike in wave.strikes
        )
        click.echo(f"  {number:>2}. pause {wave.pause_s:.1f} s, {struck}")
