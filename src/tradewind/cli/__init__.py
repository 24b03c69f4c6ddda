"""`tradewind`: one verb a module, loaded when it is called, so that `ps` and `--help` answer at once."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import click

VERBS: dict[str, tuple[str, str]] = {
    # verb: (module of this package that defines a click command of that name, what it does)
    "up": ("up", "Start the whole platform on this machine."),
    "down": ("down", "Drain and stop it, in reverse order."),
    "ps": ("ps", "What runs, and what it waits for."),
    "logs": ("logs", "One merged, time-ordered stream of all logs."),
    "restart": ("change", "Restart a room or a process, without losing a request."),
    "scale": ("change", "Run more or fewer instances of a room."),
    "run": ("run", "Run one service in the foreground, configured by its environment."),
    "migrate": ("migrate", "Apply database migrations."),
    "demo": ("demo", "Seed a catalogue and play customers through the public API."),
    "audit": ("audit", "Check every invariant across all databases."),
    "dlq": ("dlq", "Dead letters of every consumer: look, replay, drop."),
    "secrets": ("secrets", "The secret store: names and ages, never values."),
    "mesh": ("mesh", "What Envoy has loaded; faults, canaries, shadow traffic and maintenance."),
    "config": ("config", "Every setting and where its value comes from; live ones change without a restart."),
    "mail": ("mail", "The laptop's mailbox."),
    "bench": ("bench", "Measure a platform of its own and print the figures."),
    "chaos": ("chaos", "Break a platform of its own under traffic, and prove that nothing was lost."),
    "render": ("render", "Print or write the deployment files: compose, Kubernetes, monitoring, Envoy."),
    "doctor": ("doctor", "What is missing on this machine, and the command that fixes it."),
}
"""Every verb there is, in the order `--help` lists them. A new one is a module and a line here."""


class Verbs(click.Group):
    """The group of all verbs; imports a verb's module only when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Names in the order of the table."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command itself; None when there is no such verb."""
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"tradewind.cli.{VERBS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The list in `--help`, from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(verb, help_) for verb, (_, help_) in VERBS.items()])

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run; a problem with this machine or its settings is one line and its fix, exit code 1."""
        from tradewind.stack.errors import StackError

        try:
            return super().main(*args, **kwargs)
        except StackError as error:
            click.echo(f"tradewind: {error}", err=True)
            sys.exit(1)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does; an unknown verb suggests the nearest."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            ctx.fail(_no_such(args[0], list(VERBS)))
        return super().resolve_command(ctx, args)


def _no_such(verb: str, verbs: Sequence[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(verb, verbs, n=1)
    return f"there is no verb {verb!r}." + (f" Did you mean `{near[0]}`?" if near else "")


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="tradewind")
def main() -> None:
    """Tradewind: orders and money that survive kill -9, on one machine with one command.

    State lives in .tradewind/ of the current folder, or in TRADEWIND_HOME.
    """
