"""`tradewind dlq`: the events that consumers gave up on."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import socket
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from tradewind.cli.output import FORMAT, aligned, json_line, seconds_of
from tradewind.stack.errors import StackError
from tradewind.stack.rooms import rooms_with_database

if TYPE_CHECKING:
    from tradewind.chassis.deadletters import State
    from tradewind.cli.graveyards import Listed, Name, Outcome

EXIT_FAILED = 1
EXIT_TIMED_OUT = 17
OPEN, ANY = "open", "any"
_STATES = (OPEN, "dead", "behind", "replay", "replayed", "dropped", ANY)
_ROOM = click.Choice(rooms_with_database())


class _Letter(click.ParamType["Name"]):
    """`order:17`."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Name:
        """The name; wrong usage where it is none."""
        from tradewind.cli.graveyards import named

        try:
            return named(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


_LETTER = _Letter()
_BY = click.option("--by", default="", metavar="WHO", help="Who decides; else this machine's user.")


@click.group()
def dlq() -> None:
    """Dead letters of every consumer. ID says where it is: order:17 is number 17 of order-service.

    What comes after a dead letter on the same aggregate waits behind it; replaying or dropping it lets that go on.

    The databases are those of the platform in this folder, or those of ORDER_DATABASE_URL, ...
    """


@dlq.command("ls")
@click.argument("room", required=False, type=_ROOM, metavar="[ROOM]")
@click.option(
    "--state", type=click.Choice(_STATES), default=OPEN, show_default=True, help="open: dead, behind, replay."
)
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="Letters of each room.")
@FORMAT
def list_letters(room: str | None, state: str, limit: int, format_: str) -> None:
    """The letters of a consumer or of all, oldest first.

    Exit code 1: a database could not be looked at; it is named, and what the others have is listed.
    """
    from tradewind.cli.graveyards import listed

    found = asyncio.run(listed([room] if room else rooms_with_database(), _states(state), limit))
    _print_list(found, state, format_)
    sys.exit(EXIT_FAILED if found.unseen else 0)


@dlq.command("show")
@click.argument("letter", type=_LETTER, metavar="ID")
@FORMAT
def show_letter(letter: Name, format_: str) -> None:
    """One letter whole: its error, its tries, its trace, its message. Secrets and addresses are masked as in the logs."""
    from tradewind.cli.graveyards import opened
    from tradewind.cli.letters import lines, whole

    async def look() -> tuple[Any, int]:
        async with opened(letter.room) as graveyards:
            return await graveyards.get(letter), await graveyards.behind(letter)

    found, behind = asyncio.run(look())
    if format_ == "json":
        click.echo(json_line(whole(letter, found, behind)))
    else:
        for line in lines(letter, found, behind):
            click.echo(line)


@dlq.command("replay")
@click.argument("letters", nargs=-1, type=_LETTER, metavar="[ID]...")
@click.option("--all", "room", type=_ROOM, metavar="ROOM", help="All dead letters of this consumer.")
@click.option("--wait", default="30s", show_default=True, help="How long to wait for what comes of it: 500ms, 30s, 2m.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask before --all.")
@_BY
@FORMAT
def replay_letters(letters: tuple[Name, ...], room: str | None, wait: str, yes: bool, by: str, format_: str) -> None:
    """Have consumers handle letters again, and what waits behind them; say what came of it.

    Exit code 0: all took effect. 1: one failed again, with its new error, or could not be replayed. 17: a consumer had not
    handled one within --wait; it still will, when it runs.
    """
    if bool(letters) == bool(room):
        raise click.UsageError("name letters, or --all ROOM")
    wait_s = seconds_of(wait, "--wait")
    chosen = list(dict.fromkeys(letters)) if letters else _all_dead(str(room), yes=yes)
    outcomes, refused = asyncio.run(_replayed(chosen, by or _operator(), wait_s))
    for outcome in outcomes:
        _print_outcome(outcome, format_)
    for problem in refused:
        click.echo(f"tradewind: {problem}", err=True)
    if not chosen and format_ == "text":
        click.echo(f"no dead letters in {room}")
    states = {outcome.letter.state for outcome in outcomes}
    if refused or not states.isdisjoint({"dead", "dropped"}):
        sys.exit(EXIT_FAILED)
    sys.exit(EXIT_TIMED_OUT if "replay" in states else 0)


@dlq.command("drop")
@click.argument("letters", nargs=-1, required=True, type=_LETTER, metavar="ID...")
@click.option("--reason", required=True, help="Why it shall never take effect; kept with the letter.")
@_BY
def drop_letters(letters: tuple[Name, ...], reason: str, by: str) -> None:
    """Decide that letters shall never take effect. They stay, with who decided, when and why; what is behind them goes on."""
    if not reason.strip():
        raise click.BadParameter("say why, for whoever asks in a year", param_hint="--reason")
    from tradewind.cli.graveyards import opened

    async def drop() -> bool:
        refused = False
        async with opened(*{name.room for name in letters}) as graveyards:
            for name in dict.fromkeys(letters):
                try:
                    behind = await graveyards.behind(name)
                    await graveyards.drop(name, by=by or _operator(), reason=reason.strip())
                except StackError as error:
                    refused = True
                    click.echo(f"tradewind: {error}", err=True)
                else:
                    click.echo(f"{name} dropped" + (f"; {behind} behind it go on" if behind else ""))
        return refused

    sys.exit(EXIT_FAILED if asyncio.run(drop()) else 0)


def _states(state: str) -> Sequence[State]:
    from tradewind.chassis import deadletters

    if state in {OPEN, ANY}:
        return deadletters.OPEN if state == OPEN else deadletters.STATES
    return [each for each in deadletters.STATES if each == state]


def _all_dead(room: str, *, yes: bool) -> list[Name]:
    from tradewind.cli.graveyards import opened

    async def find() -> list[Name]:
        async with opened(room) as graveyards:
            return [name for name, _ in await graveyards.all_in(room, ["dead"])]

    found = asyncio.run(find())
    if found and not yes:
        click.confirm(f"replay {len(found)} dead letters of {room}? (--yes does not ask)", abort=True, err=True)
    return found


async def _replayed(names: Sequence[Name], by: str, wait_s: float) -> tuple[list[Outcome], list[StackError]]:
    """What came of those that could be replayed, and why others could not."""
    from tradewind.cli.graveyards import opened

    refused: list[StackError] = []
    if not names:
        return [], refused
    async with opened(*{name.room for name in names}) as graveyards:
        begun: dict[Name, int] = {}
        for name in names:
            try:
                behind = await graveyards.behind(name)
                await graveyards.replay(name, by=by)
            except StackError as error:
                refused.append(error)
            else:
                begun[name] = behind
        deadline_s = time.monotonic() + wait_s
        outcomes = [await graveyards.outcome(name, before=begun[name], deadline_s=deadline_s) for name in begun]
    return outcomes, refused


def _print_list(found: Listed, state: str, format_: str) -> None:
    from tradewind.cli.letters import COLUMNS, cells, summary

    if format_ == "json":
        items = [summary(name, letter) for name, letter in found.letters]
        click.echo(json_line({"items": items, "more": found.more, "unseen": found.unseen}))
    elif found.letters:
        for line in aligned([COLUMNS, *(cells(name, letter) for name, letter in found.letters)]):
            click.echo(line)
    elif not found.unseen:
        click.echo("no dead letters" if state in {OPEN, ANY} else f"no dead letters in state {state}")
    if found.more and format_ == "text":
        click.echo(f"and more of {', '.join(found.more)}; --limit shows them")
    for sentence in found.unseen:
        click.echo(f"not looked at: {sentence}", err=True)


def _print_outcome(outcome: Outcome, format_: str) -> None:
    from tradewind.cli.letters import summary

    name, letter = outcome.name, outcome.letter
    if format_ == "json":
        click.echo(json_line({**summary(name, letter), "followed": outcome.followed, "waiting": outcome.waiting}))
        return
    click.echo(f"{name} {_say(outcome)}")


def _say(outcome: Outcome) -> str:
    letter = outcome.letter
    match letter.state:
        case "replayed":
            more = f", and {outcome.followed} behind it" if outcome.followed else ""
            stuck = f"; {outcome.waiting} still wait: `tradewind dlq ls {outcome.name.room}`" if outcome.waiting else ""
            return f"took effect{more}{stuck}"
        case "dead":
            return f"failed again: {letter.error}: {letter.detail}"
        case "replay":
            return f"still waits for {letter.consumer_group}: does it run? `tradewind ps`"
        case _:
            return f"is {letter.state}"


def _operator() -> str:
    """`ada@laptop`, as far as this machine knows."""
    user = "unknown"
    with contextlib.suppress(OSError, KeyError):
        user = getpass.getuser()
    return f"{user}@{socket.gethostname()}"
