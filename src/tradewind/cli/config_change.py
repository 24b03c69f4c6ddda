"""Changing the live settings: judged first, written if nobody was faster, and followed until the instances run on it."""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from tradewind.chassis.live import Live
from tradewind.chassis.live_document import (
    MAX_VALUE_CHARS,
    MOST_VALUES,
    Document,
    DocumentFull,
    LiveStore,
    NothingChanges,
    Outrun,
    StoreAway,
    VersionUnknown,
)
from tradewind.chassis.settings import SettingsError, convert, load_layers, read_layers
from tradewind.cli.config_targets import (
    Known,
    Taken,
    known_setting,
    known_settings,
    running_instances,
    wait_until_taken,
)
from tradewind.stack.errors import StackError
from tradewind.stack.room_settings import settings_class

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Done:
    """The document that was written, and who runs on it."""

    document: Document
    taken: Taken


def read(store: LiveStore) -> Document:
    """The latest document. Raises StackError when the store is away."""
    try:
        return asyncio.run(_once(store, store.read()))
    except StoreAway as error:
        raise StackError(f"the live store is away: {error}", "nothing was changed") from error


async def _once(store: LiveStore, work: Coroutine[Any, Any, T]) -> T:
    """Each `asyncio.run` has a loop of its own, and connections do not outlive one."""
    try:
        return await work
    finally:
        await store.close()


def set_value(store: LiveStore, key: str, value: str, reason: str) -> Done:
    """Set `key`. Raises StackError that names the setting and what would fit; then nothing was changed."""
    known = known_setting(key)
    require_live(known)
    require_fit(known, value)
    return _write(store, read(store), {known.row.env: value}, reason)


def unset(store: LiveStore, key: str, reason: str) -> Done:
    """Let the layers below decide about `key` again. Raises StackError where it is not set."""
    name = key.upper()
    document = read(store)
    if name not in document.values:
        raise StackError(f"{name} is not set in the live store", "tradewind config history")
    return _write(store, document, {name: None}, reason)


def roll_back(store: LiveStore, version: int, reason: str) -> Done:
    """Set all values to what they were at `version`, as a new version."""
    document = read(store)
    try:
        before = document.values_at(version)
    except VersionUnknown as error:
        oldest, newest = error.args
        raise StackError(f"there is no version {version}", f"the history goes from {oldest} to {newest}") from error
    for key, value in before.items():
        require_live(known_setting(key))
        require_fit(known_setting(key), value)
    edits = {key: before.get(key) for key in {*before, *document.values}}
    return _write(store, document, edits, reason or f"back to version {version}")


def require_live(known: Known) -> None:
    """Raises StackError: the setting is a secret, or is read at the start only."""
    row = known.row
    if row.secret:
        raise StackError(f"{row.env} is a secret, and the live store keeps none", f"tradewind secrets set {row.env}")
    if not row.live:
        raise StackError(
            f"{row.env} needs a restart: it is read at the start",
            f"set it in tradewind.toml, then `tradewind restart {known.rooms[0]}`; or in the environment, and start again",
        )


def require_fit(known: Known, value: str) -> None:
    """Raises StackError: `value` is not of the setting's type or bounds."""
    if value == "":
        raise StackError(f"{known.row.env}: an empty value says nothing", f"tradewind config unset {known.row.env}")
    try:
        convert(value, known.hint)
    except ValueError as error:
        raise StackError(
            f"{known.row.env}: {value!r} does not fit", f"{known.row.meaning} It is {known.fits}"
        ) from error


def _write(store: LiveStore, latest: Document, values: Mapping[str, str | None], reason: str) -> Done:
    try:
        document = latest.changed(values, at=datetime.now(UTC), who=operator(os.environ), reason=reason)
    except NothingChanges as error:
        raise StackError("nothing changes: the values are what they are", "tradewind config history") from error
    except DocumentFull as error:
        raise StackError(f"too much: at most {MOST_VALUES} values of {MAX_VALUE_CHARS} characters") from error
    settings = known_settings()
    rooms = sorted({room for key in values if key in settings for room in settings[key].rooms})
    instances = running_instances(rooms)
    faults = {fault for each in instances for fault in each.faults(document.values)}
    if not instances:
        faults = _own_faults(rooms, document.values)
    if faults:
        raise StackError("refused, and nothing was changed:\n  " + "\n  ".join(sorted(faults)))
    try:
        asyncio.run(_once(store, store.write(document)))
    except Outrun as error:
        change = error.latest.changes[-1]
        raise StackError(
            f"{change.who} was faster: version {change.version} changed {', '.join(edit.key for edit in change.edits)}",
            "nothing was changed; look at `tradewind config history` and try again",
        ) from error
    except StoreAway as error:
        raise StackError(f"the live store is away: {error}", "nothing was changed") from error
    return Done(document=document, taken=wait_until_taken(instances, document.version))


def _own_faults(rooms: list[str], values: Mapping[str, str]) -> set[str]:
    """Where nothing runs: what the rooms whose environment is complete here would have against `values`."""
    faults: set[str] = set()
    for room in rooms:
        kind = settings_class(room)
        try:
            live = Live(load_layers(kind, read_layers(kind, os.environ)))
        except SettingsError:
            continue  # another room's container: it judges when it takes them
        try:
            live.with_values(values)
        except SettingsError as error:
            faults.update(error.faults)
    return faults


def operator(environ: Mapping[str, str]) -> str:
    """Who is at the keyboard, as the machine knows them; `TRADEWIND_OPERATOR` where it knows only a robot."""
    if named := environ.get("TRADEWIND_OPERATOR"):
        return named
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # a container's user has no name
        return f"uid {os.getuid()}@{socket.gethostname()}"
