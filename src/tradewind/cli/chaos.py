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
    from tradewind.chaos.plan import Options


@click.command()
@click.option("--seed", type=int, default=1, show_default=True, help="Which faults, when and where.")
@click.option("--seconds", type=click.FloatRange(1, 3_600), default=60.0, show_default=True, help="About how long.")
@click.option("--rate", type=click.FloatRange(1, 200), default=20.0, show_default=True, help="Requests a second.")
@click.option("--faults", default="", metavar="KIND,...", help="These kinds only; default: all.")
@click.option("--plan", "plan_only", is_flag=True, help="Print what would be done, and do nothing.")
@FORMAT
def chaos(seed: int, seconds: float, rate: float, faults: str, *, plan_only: bool, format_: str) -> None:
    """Break a platform of its own while customers use it, then prove that nothing was lost or doubled.

    The faults are drawn from the seed: the same seed and options make the same faults. Afterwards every invariant is
    audited, and what the customers were told is compared with the databases and the provider's books.

    Exit code 0: clean. 1: something is not as it must be; the state folder with all logs is kept, and named.
    """
    from tradewind.chaos.plan import KINDS, Options
    from tradewind.chaos.report import summary
    from tradewind.chaos.run import run
    from tradewind.cli.platform_access import audit_sources

    kinds = tuple(kind for kind in KINDS if kind in faults.split(",")) if faults else KINDS
    if unknown := set(filter(None, faults.split(","))) - set(KINDS):
        raise click.BadParameter(f"{', '.join(sorted(unknown))}: not one of {', '.join(KINDS)}", param_hint="--faults")
    options = Options(seed=seed, seconds=seconds, rate_per_s=rate, kinds=kinds)
    if plan_only:
        _print_plan(options, as_json=format_ == "json")
        return

    def say(line: str) -> None:
        click.echo(line, err=format_ == "json")

    if format_ == "text":
        _print_plan(options, as_json=False)
    folder = Path(tempfile.mkdtemp(prefix=f"tradewind-chaos-{seed}-"))
    report = asyncio.run(run(options, folder, audit_sources, say))
    if report.clean:
        (folder / "journal.jsonl").unlink()
        folder.rmdir()
    if format_ == "json":
        click.echo(json_line(report))
    else:
        for line in summary(report):
            click.echo(line)
    sys.exit(0 if report.clean else 1)


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
