"""`tradewind config`: every setting, where its value comes from, and those that change without a restart."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click
import msgspec

from tradewind.chassis.config_page import ConfigPage, SettingRow, setting_rows
from tradewind.chassis.live_document import Change, Document
from tradewind.chassis.settings import ORIGINS, SettingsError, read_layers
from tradewind.chassis.settings_file import FILE_VARIABLE
from tradewind.cli import config_change
from tradewind.cli.config_change import Done
from tradewind.cli.config_targets import known_room, known_setting, live_store, running_instances
from tradewind.cli.output import FORMAT, aligned, json_line
from tradewind.stack.config_paths import LIVE_VARIABLE, config_file
from tradewind.stack.errors import StackError
from tradewind.stack.rooms import all_rooms
from tradewind.stack.state import State

REASON = click.option("--reason", default="", help="Why; kept in the history.")
SHOWN_CHARS = 40


@click.group()
def config() -> None:
    """Every setting, where its value comes from, and changing the live ones.

    The layers, lowest first: default, file (tradewind.toml), environment, live store. A live setting changes without a
    restart, on every instance within a second.
    """


@config.command("show")
@click.argument("room")
@FORMAT
def show(room: str, format_: str) -> None:
    """Every setting of ROOM: value, layer it came from, and whether it is live. Secrets are masked.

    Of the instances that run here; where none does, of this command's own environment.
    """
    known_room(room)
    pages = _pages(room)
    if format_ == "json":
        click.echo(json_line({"room": room, "instances": pages}))
        return
    for page in pages[:1]:
        rows = [("SETTING", "VALUE", "FROM", "LIVE")]
        rows += [(row.key, _short(row.value), row.origin, "live" if row.live else "") for row in page.settings]
        for line in aligned(rows):
            click.echo(line)
    for page in pages:
        click.echo(f"{page.instance}: live settings of version {page.version}")
        if page.refused:
            click.echo(click.style(f"  refused, and the old ones hold: {page.refused}", fg="red"))


@config.command("explain")
@click.argument("name", metavar="KEY|ROOM")
@FORMAT
def explain(name: str, format_: str) -> None:
    """What KEY means, what fits, and what each layer says about it; of a ROOM, each of its settings."""
    if name in all_rooms():
        rows = [(name, row) for row in _pages(name)[0].settings]
    else:
        known = known_setting(name)
        rows = [(room, row) for room in known.rooms for row in _pages(room)[0].settings if row.key == known.row.env]
    if format_ == "json":
        click.echo(json_line([{"room": room, **msgspec.to_builtins(row)} for room, row in rows]))
        return
    same = name not in all_rooms() and len({(row.value, row.origin) for _, row in rows}) == 1
    for room, row in rows[:1] if same else rows:
        _explain("every room that has it" if same and len(rows) > 1 else room, row)


@config.command("set")
@click.argument("key")
@click.argument("value")
@REASON
@FORMAT
def set_(key: str, value: str, reason: str, format_: str) -> None:
    """Set the live setting KEY, for every instance and for those that start later.

    Refused, with nothing changed, where the value does not fit or the setting is read at the start only.
    """
    _report(config_change.set_value(live_store(), key, value, reason), format_)


@config.command("unset")
@click.argument("key")
@REASON
@FORMAT
def unset(key: str, reason: str, format_: str) -> None:
    """Take KEY out of the live store: the layers below decide again."""
    _report(config_change.unset(live_store(), key, reason), format_)


@config.command("history")
@click.argument("key", required=False)
@FORMAT
def history(key: str | None, format_: str) -> None:
    """Every change, the newest last: version, when, who, why, old and new."""
    wanted = known_setting(key).row.env if key else None
    document = config_change.read(live_store())
    changes = [c for c in document.changes if wanted is None or any(edit.key == wanted for edit in c.edits)]
    if format_ == "json":
        click.echo(json_line({"version": document.version, "changes": changes}))
        return
    if not changes:
        click.echo("nothing was changed yet")
        return
    rows = [("VERSION", "WHEN", "WHO", "CHANGE", "WHY")]
    for change in changes:
        rows += [
            (
                str(change.version),
                change.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
                change.who,
                _edit(change, number),
                change.reason,
            )
            for number in range(len(change.edits))
        ]
    for line in aligned(rows):
        click.echo(line)


@config.command("rollback")
@click.argument("version", type=click.IntRange(min=0))
@REASON
@FORMAT
def rollback(version: int, reason: str, format_: str) -> None:
    """Set every live setting to what it was at VERSION; a change of its own, that can be rolled back."""
    _report(config_change.roll_back(live_store(), version, reason), format_)


def _report(done: Done, format_: str) -> None:
    """What was changed and who runs on it. Exit code 1 where an instance did not take it."""
    change, taken = done.document.changes[-1], done.taken
    if format_ == "json":
        click.echo(json_line({"change": change, "taken": taken.by, "refused": taken.refused, "silent": taken.silent}))
    else:
        for number in range(len(change.edits)):
            click.echo(f"{_edit(change, number)}  (version {change.version})")
        click.echo(f"in force on {', '.join(taken.by)}" if taken.by else "in force from the next start on")
        for name, why in taken.refused.items():
            click.echo(click.style(f"{name} refused it and keeps the old value: {why}", fg="red"))
        for name in taken.silent:
            click.echo(click.style(f"{name} has not said whether it took it: tradewind config show", fg="red"))
    if taken.refused or taken.silent:
        sys.exit(1)


def _edit(change: Change, number: int) -> str:
    edit = change.edits[number]
    old, new = (_short(text) if text is not None else "(not set)" for text in (edit.old, edit.new))
    return f"{edit.key}: {old} -> {new}"


def _pages(room: str) -> Sequence[ConfigPage]:
    """One page a running instance; without any, what this command's own environment says."""
    pages = [page for each in running_instances([room]) if (page := each.page()) is not None]
    if pages:
        return pages
    folder = State.of(os.environ).folder
    file = config_file(os.environ, folder)
    kind = known_room(room)
    try:
        layers = read_layers(kind, {**os.environ, **({FILE_VARIABLE: str(file)} if file else {})})
    except SettingsError as error:
        raise StackError("\n  ".join(error.faults)) from error
    stored = os.environ.get(LIVE_VARIABLE) or State.of(os.environ).exists
    document = config_change.read(live_store()) if stored else Document()
    rows = setting_rows(kind, layers, document.values)
    return [
        ConfigPage(instance=f"{room} (not running here)", version=document.version, judged=0, refused="", settings=rows)
    ]


def _explain(room: str, row: SettingRow) -> None:
    click.echo(click.style(f"{row.key}  ({room})", bold=True))
    click.echo(f"  {row.meaning}")
    click.echo(f"  It is {row.kind}{f'; for example {row.example}' if row.example else ''}.")
    click.echo("  Live: changes without a restart." if row.live else "  Read at the start: a change needs a restart.")
    for origin in ORIGINS:
        text = row.default if origin == "default" else row.layers.get(origin, "")
        mark = "  <- in force" if origin == row.origin else ""
        if text or mark:
            click.echo(f"    {origin:12} {_short(text)}{mark}")


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS else f"{text[: SHOWN_CHARS - 3]}..."
