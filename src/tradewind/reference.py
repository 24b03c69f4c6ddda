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

from tradewind import reference_mesh, reference_saga
from tradewind.chassis import settings
from tradewind.chassis.http.openapi import openapi_document
from tradewind.cli import VERBS, main
from tradewind.deploy.yaml_text import dump
from tradewind.published import asyncapi
from tradewind.published.readers import heard_by
from tradewind.published.schemas import all_contracts
from tradewind.reference_sandbox import sandbox_page
from tradewind.stack.rooms import all_rooms

FOLDER = Path("docs/reference")
_WRITTEN = "<!-- Written by `make docs` from the code. -->\n"

_EVENTS = """
CloudEvents 1.0 in structured JSON, at most 256 KiB. The key of a message and the `subject` of the event is the aggregate's id;
`aggregateversion` counts its events from 1 without a gap; `traceparent` carries the trace; `id` is a UUID, by which a reader knows what it has had.
The machine-readable forms are [asyncapi.yaml](asyncapi.yaml) (AsyncAPI 3: topics, partitions, who sends and receives what) and
a JSON Schema for each type in [events/](events/); that of what is around the data is [envelope.json](events/envelope.json).

## Versions

A published version is a promise, and `make check` holds the code against the schemas in `events/`. **It may gain optional fields, with a
default. Anything else is the next version**: a field removed, renamed, made required or optional; another type, bound, pattern or default;
a word added to or taken from an enumeration; another topic, key or producer. Both directions count, because old readers meet new events
(services are deployed one by one) and new readers meet old ones (the bus keeps a week, a dead letter stays longer).

* A reader ignores fields it does not know. Of those it knows it is strict: **an enumeration is closed**, so a new word needs a new
  version. Where words may be added freely the field is a plain text, such as `code`, and its reader has an answer for any.
* A reader that meets a version of a type it handles, but not that version, makes it a [dead letter](../operating/dead-letters.md) at once,
  which says that the reader must be upgraded, and what follows on that aggregate waits. Types it does not handle it passes over, and counts.

How an event changes: (1) `order.placed.v2` is written beside `v1` in `contracts/`, and `make publish-contracts` publishes it, or says
what would break whom; (2) every reader learns to handle both, and is deployed; (3) the producer tells `v2` in place of `v1`; (4) when the bus
holds no `v1` any more and no dead letter does, readers and contract lose it, and `python -m tradewind.published retire order.placed.v1` ends it.
"""


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
        "start and is named, with all others that are wrong. `ROOM_` below stands for the room's prefix: `ORDER_`, `PAYMENT_`."
    )
    lines.append(
        "Those marked **live** change while running, by `tradewind config set` ([configuration](../operating/configuration.md)).\n"
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
            rows.append(f"| `{field.env}` | {default} | {'**live** ' if field.live else ''}{field.meaning} |")
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
    """Every event with its fields, and who hears it."""
    readers = heard_by()
    lines = [_WRITTEN, "# Events\n", _EVENTS.strip(), ""]
    for contract in all_contracts():
        lines += [f"## Topic `{contract.topic}`, from {contract.producer}-service\n", contract.meaning, ""]
        for event in contract.events:
            heard = ", ".join(readers.get(event.TYPE, ())) or "nobody here"
            lines += [f"### `{event.TYPE}`\n", inspect.cleandoc(event.__doc__ or ""), ""]
            lines += [f"Key `{event.KEY}`; heard by {heard}; [schema](events/{event.TYPE}.json).\n"]
            lines += ["| field | type |", "|---|---|"]
            lines += [f"| `{field.name}` | {_kind(field.type)} |" for field in msgspec.structs.fields(event)]
            lines.append("")
    return "\n".join(lines)


def asyncapi_page() -> str:
    """The same for programs, as an AsyncAPI 3 document."""
    return "# Written by `make docs` from the code.\n" + dump(asyncapi.document())


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
        "asyncapi.yaml": asyncapi_page(),
    }


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{FOLDER / name}\n")
    reference_saga.PAGE.write_text(reference_saga.page(reference_saga.PAGE.read_text("utf-8")), encoding="utf-8")
    reference_mesh.PAGE.write_text(reference_mesh.page(reference_mesh.PAGE.read_text("utf-8")), encoding="utf-8")
    reference_saga.PICTURE.write_text(reference_saga.picture(), encoding="utf-8")
    sys.stdout.write(f"{reference_saga.PAGE}\n{reference_saga.PICTURE}\n")
