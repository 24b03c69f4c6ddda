"""The reference pages, written from the code: `python -m tradewind.reference` (or `make docs`).

A test holds the committed pages against what this writes, so they cannot fall behind.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from tradewind import reference_saga
from tradewind.chassis import settings
from tradewind.chassis.http.openapi import openapi_document
from tradewind.cli import VERBS, main
from tradewind.reference_sandbox import sandbox_page
from tradewind.stack.rooms import all_rooms

FOLDER = Path("docs/reference")
_WRITTEN = "<!-- Written by `make docs` from the code. -->\n"


class _AnyRoom(settings.DatabaseServiceSettings, frozen=True, kw_only=True):
    PREFIX = "ROOM_"


def cli_page() -> str:
    """Every verb with its help."""
    lines = [_WRITTEN, "# Command line\n"]
    for verb in VERBS:
        command = main.get_command(click.Context(main), verb)
        if command is None:
            raise LookupError(verb)
        lines += [f"## tradewind {verb}\n", "```", _help(command, f"tradewind {verb}"), "```\n"]
        if isinstance(command, click.Group):
            for name, inner in command.commands.items():
                lines += [f"### tradewind {verb} {name}\n", "```", _help(inner, f"tradewind {verb} {name}"), "```\n"]
    lines.append(
        "Exit codes: 0 done, 1 failed, 2 wrong usage, 17 timed out waiting, 18 a process failed while waiting,"
        " 130 or 143 interrupted.\n"
    )
    return "\n".join(lines)


def _help(command: click.Command, name: str) -> str:
    context = click.Context(command, info_name=name, terminal_width=100, max_content_width=100)
    return command.get_help(context)


def settings_page() -> str:
    """Every variable of every room: first those that all share, then each room's own."""
    lines = [_WRITTEN, "# Settings\n"]
    lines.append(
        "Each variable `NAME` may be given as `NAME_FILE`, a file that holds the value. A wrong or missing one stops the"
    )
    lines.append(
        "start and is named, with all others that are wrong. `ROOM_` below stands for the room's prefix: `ORDER_`, `PAYMENT_`.\n"
    )
    shared = {field.field for field in settings.describe(settings.DatabaseServiceSettings)}
    lines += ["## Every service\n", *_table(_AnyRoom, lambda _: True)]
    for room in all_rooms():
        cls = _settings_class(room)
        rows = _table(cls, lambda field: field.field not in shared)
        lines += [f"## {room}\n", *(rows if len(rows) > 3 else ["Nothing of its own.\n"])]
    return "\n".join(lines)


def _settings_class(room: str) -> type[settings.Settings]:
    module = importlib.import_module(f"tradewind.services.{room}.settings")
    found: type[settings.Settings] = getattr(module, f"{room.title()}Settings")
    return found


def _table(cls: type[settings.Settings], wanted: Callable[[settings.Field], bool]) -> list[str]:
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for field in settings.describe(cls):
        if wanted(field):
            default = "required" if field.required else f"`{field.default}`" if field.default else ""
            rows.append(f"| `{field.env}` | {default} | {field.meaning} |")
    return [*rows, ""]


def http_page() -> str:
    """Every public operation."""
    lines = [_WRITTEN, "# HTTP\n"]
    lines.append(
        "The machine-readable form is `GET /openapi.json` on the gateway, with every schema; `/docs` shows it. Errors are"
    )
    lines.append("`application/problem+json` with a stable `code`; lists take `limit` and `cursor`.\n")
    for room in all_rooms():
        api = importlib.import_module(f"tradewind.services.{room}.api").api
        lines += [f"## {api.tag}\n", "| operation | who | what | codes of its own |", "|---|---|---|---|"]
        document = openapi_document(api, version="")
        for operation in api.operations:
            if operation.listed:
                described = document["paths"][operation.path][operation.method.lower()]
                key = ", `Idempotency-Key`" if operation.idempotent else ""
                who = ", ".join(operation.access.roles) or operation.access.kind
                codes = ", ".join(f"`{code}`" for code in operation.raises)
                lines.append(
                    f"| `{operation.method} {operation.path}` | {who}{key} | {described['summary']} | {codes} |"
                )
        lines.append("")
    return "\n".join(lines)


def events_page() -> str:
    """Every event with its fields."""
    lines = [_WRITTEN, "# Events\n"]
    lines.append("CloudEvents 1.0 in JSON. The key of a message and the `subject` of the event is the aggregate's id;")
    lines.append("`aggregateversion` counts its events from 1 without a gap; `traceparent` carries the trace.\n")
    for producer in ("auth", "user", "order", "payment"):
        contract = importlib.import_module(f"tradewind.contracts.{producer}")
        lines += [f"## Topic `{contract.TOPIC}`, from {producer}-service\n", inspect.getdoc(contract) or "", ""]
        for event in contract.EVENTS:
            lines += [f"### `{event.TYPE}`\n", inspect.cleandoc(event.__doc__), "", "| field | type |", "|---|---|"]
            lines += [f"| `{field.name}` | {_kind(field.type)} |" for field in msgspec.structs.fields(event)]
            lines.append("")
    return "\n".join(lines)


def _kind(kind: Any) -> str:
    text = kind.__name__ if inspect.isclass(kind) else str(kind)
    for prefix in ("tradewind.contracts.money.", "tradewind.contracts.order.", "typing."):
        text = text.replace(prefix, "")
    return text.replace("|", "or")


def pages() -> Mapping[str, str]:
    """All pages by file name."""
    return {
        "cli.md": cli_page(),
        "settings.md": settings_page(),
        "http.md": http_page(),
        "events.md": events_page(),
        "sandbox.md": f"{_WRITTEN}\n{sandbox_page()}",
    }


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{FOLDER / name}\n")
    reference_saga.PAGE.write_text(reference_saga.page(reference_saga.PAGE.read_text("utf-8")), encoding="utf-8")
    reference_saga.PICTURE.write_text(reference_saga.picture(), encoding="utf-8")
    sys.stdout.write(f"{reference_saga.PAGE}\n{reference_saga.PICTURE}\n")
