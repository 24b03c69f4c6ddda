"""`tradewind mail`: what the platform would have sent."""

from __future__ import annotations

import email
import email.policy
import os
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import click

from tradewind.cli.output import FORMAT, aligned, json_line
from tradewind.stack.errors import StackError
from tradewind.stack.state import State


@click.group()
def mail() -> None:
    """The laptop's mailbox: every message is caught and kept, none is sent."""


@mail.command("ls")
@FORMAT
def list_mail(format_: str) -> None:
    """All messages, the newest last."""
    messages = [(path, _read(path)) for path in _files()]
    if format_ == "json":
        for path, message in messages:
            click.echo(json_line({"file": path.name, "received_at": _received(path), **_heads(message)}))
        return
    if not messages:
        click.echo("no mail yet")
        return
    rows = [("#", "RECEIVED", "TO", "SUBJECT")]
    for number, (path, message) in enumerate(messages, start=1):
        heads = _heads(message)
        rows.append((str(number), _received(path), heads["to"], heads["subject"]))
    for line in aligned(rows):
        click.echo(line)


@mail.command("show")
@click.argument("which", default="last")
def show_mail(which: str) -> None:
    """One message: its number in `ls`, its file name, or `last`."""
    message = _read(_chosen(which))
    for name in ("From", "To", "Subject", "Date", "Message-ID"):
        if message[name]:
            click.echo(f"{name}: {message[name]}")
    body = message.get_body(preferencelist=("plain", "html"))
    click.echo(f"\n{body.get_content() if body else '(no text)'}")


def _files() -> list[Path]:
    """The messages in the order they came in."""
    return sorted(State.of(os.environ).mail.glob("*.eml"), key=lambda path: (path.stat().st_mtime_ns, path.name))


def _chosen(which: str) -> Path:
    files = _files()
    if not files:
        raise StackError("there is no mail yet", "register a customer or place an order, then look again")
    if which == "last":
        return files[-1]
    if which.isdigit() and 1 <= int(which) <= len(files):
        return files[int(which) - 1]
    for path in files:
        if path.name in (which, f"{which}.eml"):
            return path
    raise StackError(f"there is no message {which!r}", "tradewind mail ls")


def _read(path: Path) -> EmailMessage:
    message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def _heads(message: EmailMessage) -> dict[str, str]:
    return {
        "to": str(message.get("To", "")),
        "subject": str(message.get("Subject", "")),
        "message_id": str(message.get("Message-ID", "")),
    }


def _received(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
