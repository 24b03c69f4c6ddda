"""`tradewind secrets`: names and ages of what is kept, and new values for it. No value is ever printed or taken as an argument."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import click

from tradewind.chassis.secrets import MAX_VALUE_BYTES, SecretsError, SecretStore
from tradewind.chassis.secrets.opening import STORE, open_store
from tradewind.chassis.settings import Secret
from tradewind.cli.output import FORMAT, aligned, json_line
from tradewind.stack.errors import StackError
from tradewind.stack.state import State


@click.group()
def secrets() -> None:
    """The secret store: of this state folder, or the one that TRADEWIND_SECRETS_STORE names."""


@secrets.command("ls")
@FORMAT
def list_secrets(format_: str) -> None:
    """Names, and when each was last changed."""
    with _clear():
        store = _store(os.environ)
        entries = store.entries()
    if format_ == "json":
        click.echo(json_line({"store": store.description, "secrets": entries}))
        return
    if not entries:
        click.echo(f"no secrets in {store.description}")
        return
    rows = [("NAME", "CHANGED")]
    rows += [(each.name, f"{each.changed_at:%Y-%m-%dT%H:%M:%SZ}" if each.changed_at else "") for each in entries]
    for line in aligned(rows):
        click.echo(line)


@secrets.command("set", context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("more", nargs=-1, type=click.UNPROCESSED)
@FORMAT
def set_secret(name: str, more: tuple[str, ...], format_: str) -> None:
    """Keep a new value for NAME, read from standard input, or asked for on a terminal.

    A process takes it up when it starts; `tradewind restart ROOM` loses no request.
    """
    if more:
        # Without what was given: it is a secret that is now in the shell's history, and shall be in no log.
        raise click.UsageError(
            "a value is read from standard input, never from the command line: `secrets set NAME < FILE`"
        )
    with _clear():
        store = _store(os.environ)
        store.put(name, _value(name))
    click.echo(
        json_line({"name": name, "store": store.description})
        if format_ == "json"
        else f"{name}: kept in {store.description}"
    )


@secrets.command("rotate")
@click.argument("what", metavar="jwt|database/ROOM|provider")
@FORMAT
def rotate_secret(what: str, format_: str) -> None:
    """Replace a secret of the platform that runs here, while it serves: old and new are good until everybody has the new.

    jwt: the key that access tokens are signed with. database/ROOM: the password of a room's database. provider: the sandbox
    payment provider's API key and webhook secret.
    """
    from tradewind.cli import rotation

    kind, _, room = what.partition("/")
    if kind == "jwt" and not room:
        done = rotation.rotate_signing_key(os.environ, _say(format_))
    elif kind == "database" and room:
        done = rotation.rotate_database_password(room, os.environ, _say(format_))
    elif kind == "provider" and not room:
        done = rotation.rotate_provider_keys(os.environ, _say(format_))
    else:
        raise click.UsageError(
            "there is `rotate jwt`, `rotate provider` and `rotate database/ROOM`, for example database/order"
        )
    click.echo(json_line(done) if format_ == "json" else f"{what}: rotated")


def _say(format_: str) -> Callable[[str], None]:
    return click.echo if format_ == "text" else lambda _: None


def _value(name: str) -> Secret:
    if sys.stdin.isatty():
        return Secret(click.prompt(f"New value of {name}", hide_input=True, confirmation_prompt=True, err=True))
    raw = sys.stdin.buffer.read(MAX_VALUE_BYTES + 1)
    try:
        return Secret(raw.decode().rstrip("\r\n"))
    except UnicodeDecodeError:
        raise SecretsError("value-invalid", f"{name}: what came on standard input is no text") from None


def _store(environ: Mapping[str, str]) -> SecretStore:
    if address := environ.get(STORE):
        return open_store(address, environ)
    state = State.of(environ)
    if not state.exists:
        raise SecretsError(
            "unavailable", f"there is no state folder at {state.folder}", f"run `tradewind up`, or set {STORE}"
        )
    return state.secrets().store()


@contextmanager
def _clear() -> Iterator[None]:
    try:
        yield
    except SecretsError as error:
        raise StackError(error.problem, error.fix) from None
