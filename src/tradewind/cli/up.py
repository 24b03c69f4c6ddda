"""`tradewind up`."""

from __future__ import annotations

import os
import sys

import click

from tradewind.cli import reports
from tradewind.cli.output import FORMAT
from tradewind.stack.errors import StackError
from tradewind.stack.rooms import CONTROL_PLANE, all_rooms
from tradewind.stack.settings import StackSettings, read_settings
from tradewind.stack.state import State

DEFAULT_TIMEOUT_S = 120


def _counts(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> dict[str, int]:
    """`--scale order=2` as a dictionary."""
    counts = {}
    for value in values:
        name, separator, count = value.partition("=")
        if not separator or not count.isdigit():
            raise click.BadParameter(f"{value!r} is not of the form NAME=N, for example order=2")
        counts[name] = int(count)
    return counts


@click.command()
@click.option("-d", "--detach", is_flag=True, help="Return once it is ready; stop it with `tradewind down`.")
@click.option("--port", type=int, help="Public port.  [default: TRADEWIND_PORT or 8080]")
@click.option(
    "--tls-port", type=int, help="Public port that speaks TLS, beside the other.  [default: GATEWAY_TLS_PORT or none]"
)
@click.option(
    "--scale", multiple=True, metavar="NAME=N", callback=_counts, help="Instances of a room; may be repeated."
)
@click.option(
    "--kafka", metavar="HOST:PORT", help="Events travel on this Apache Kafka.  [default: TRADEWIND_KAFKA or none]"
)
@click.option(
    "--consul", metavar="URL", help="Services are known from this Consul agent.  [default: TRADEWIND_CONSUL or none]"
)
@click.option("--fresh", is_flag=True, help="Delete all data first.")
@click.option("--timeout", "timeout_s", default=DEFAULT_TIMEOUT_S, show_default=True, help="With -d: seconds to wait.")
@click.option("--events-fd", type=int, hidden=True, help="Where a detached supervisor writes its events.")
@FORMAT
def up(
    detach: bool,
    port: int | None,
    tls_port: int | None,
    scale: dict[str, int],
    kafka: str | None,
    consul: str | None,
    fresh: bool,
    timeout_s: int,
    events_fd: int | None,
    format_: str,
) -> None:
    """Start the whole platform on this machine.

    Prints Ready (with -d: returns) only when an order can be placed. Ctrl-C drains and stops.
    """
    state = State.of(os.environ)
    if unknown := sorted(set(scale) - set(all_rooms())):
        raise click.UsageError(f"--scale: there is no room {', '.join(unknown)}. Rooms: {', '.join(all_rooms())}")
    if scale.get(CONTROL_PLANE, 1) != 1:
        raise click.UsageError(
            f"--scale: {CONTROL_PLANE} is the control plane and runs once; scale the rooms behind it"
        )
    settings = read_settings(os.environ, port=port, tls_port=tls_port, scale=scale, kafka=kafka, consul=consul)
    if detach:
        from tradewind.cli.detached import start_detached

        sys.exit(
            start_detached(state, settings, fresh=fresh, timeout_s=timeout_s, report=reports.lines(format_, state))
        )
    sys.exit(_foreground(state, settings, fresh=fresh, events_fd=events_fd, format_=format_))


def _foreground(state: State, settings: StackSettings, *, fresh: bool, events_fd: int | None, format_: str) -> int:
    import asyncio

    from tradewind.stack.host import AlreadyRunning, Host

    if events_fd is not None:
        report: reports.Report = reports.PipeReport(events_fd)
    elif format_ == "text" and sys.stdout.isatty():
        from tradewind.cli.live import LiveReport

        report = LiveReport(state)
    else:
        report = reports.lines(format_, state)
    host = Host(state, settings, report)

    async def run() -> int:
        async with report.watching(host):
            return await host.run(fresh=fresh)

    try:
        return asyncio.run(run())
    except AlreadyRunning:
        if fresh:
            raise StackError("it is running already, so its data stays", "tradewind down, then up --fresh") from None
        report(reports.already_running(state))
        return 0
    except StackError as error:
        if events_fd is None:
            raise
        report({"event": "refused", "problem": error.problem, "fix": error.fix})
        return 1
