"""What `tradewind config` works on: the settings of all rooms, the live store, and the instances that run here."""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from tradewind.chassis.config_page import ConfigPage, Judgement
from tradewind.chassis.live_document import LiveStore
from tradewind.chassis.setting_kinds import example_of, kind_of
from tradewind.chassis.settings import Field, ServiceSettings, describe, hints
from tradewind.chassis.settings_file import nearest
from tradewind.mesh.live_stores import open_store
from tradewind.stack.client import running_supervisor
from tradewind.stack.config_paths import LIVE_VARIABLE, live_config_url
from tradewind.stack.errors import StackError
from tradewind.stack.room_settings import settings_class
from tradewind.stack.rooms import all_rooms
from tradewind.stack.state import State

ASK_TIMEOUT_S = 5.0
TAKEN_WITHIN_S = 10.0
POLL_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Known:
    """One variable: its row, the annotated type of its field, and the rooms that read it."""

    row: Field
    hint: Any
    rooms: tuple[str, ...]

    @property
    def fits(self) -> str:
        """What would fit, with an example."""
        return f"{kind_of(self.hint)}; for example {example_of(self.hint, self.row.default)}"


def known_settings(rooms: Sequence[str] | None = None) -> dict[str, Known]:
    """Every variable of `rooms`, or of all, by its name."""
    found: dict[str, Known] = {}
    for room in rooms or all_rooms():
        kind = settings_class(room)
        types = hints(kind)
        for row in describe(kind):
            before = found[row.env].rooms if row.env in found else ()
            found[row.env] = Known(row=row, hint=types[row.field], rooms=(*before, room))
    return found


def known_setting(key: str) -> Known:
    """The variable `key`, in any case. Raises StackError that names the nearest where there is none."""
    settings = known_settings()
    if (name := key.upper()) not in settings:
        raise StackError(f"there is no setting {key}{nearest(name, tuple(settings))}", "tradewind config show ROOM")
    return settings[name]


def known_room(room: str) -> type[ServiceSettings]:
    """The settings of `room`. Raises StackError where there is none."""
    if room not in all_rooms():
        raise StackError(f"there is no room {room}{nearest(room, all_rooms())}", f"rooms: {', '.join(all_rooms())}")
    return settings_class(room)


def live_store(environ: Mapping[str, str] = os.environ) -> LiveStore:
    """The live store of this platform.

    Raises:
        StackError: nothing ever ran here and no store is named, or its URL is none.
    """
    state = State.of(environ)
    if not environ.get(LIVE_VARIABLE) and not state.exists:
        raise StackError(
            "there is no live store", f"start the platform here with `tradewind up`, or set {LIVE_VARIABLE}"
        )
    try:
        return open_store(live_config_url(environ, state.folder), environ)
    except ValueError as error:
        raise StackError(str(error)) from error


class Instance:
    """A running process of a room, asked through its management port."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self._port = port

    @property
    def room(self) -> str:
        """`order` of `order-1`."""
        return self.name.rpartition("-")[0]

    def page(self) -> ConfigPage | None:
        """What it runs on; None when it does not answer."""
        answer = self._ask("GET", "/configz")
        return msgspec.json.decode(answer, type=ConfigPage) if answer else None

    def faults(self, values: Mapping[str, str]) -> list[str]:
        """What it has against these live values; one that does not answer has nothing, and judges when it takes them."""
        answer = self._ask("POST", "/configz/check", msgspec.json.encode({"values": values}))
        return msgspec.json.decode(answer, type=Judgement).faults if answer else []

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes | None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ASK_TIMEOUT_S)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        return content if answer.status == 200 else None


def running_instances(rooms: Sequence[str], environ: Mapping[str, str] = os.environ) -> list[Instance]:
    """The processes of `rooms` that run in this state folder, by name."""
    state = State.of(environ)
    if running_supervisor(state) is None:
        return []
    found = []
    for name, ports in sorted(state.ports().items()):
        if isinstance(ports, dict) and "management_port" in ports and name.rpartition("-")[0] in rooms:
            found.append(Instance(name, int(ports["management_port"])))
    return found


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Who runs on a version of the live settings: by name, who refused it and why, and who did not say in time."""

    by: list[str]
    refused: dict[str, str]
    silent: list[str]


def wait_until_taken(instances: Sequence[Instance], version: int, within_s: float = TAKEN_WITHIN_S) -> Taken:
    """Ask until each has taken `version` or a later one, or has refused it, or the time is up."""
    give_up_s = time.monotonic() + within_s
    waiting = list(instances)
    by: list[str] = []
    refused: dict[str, str] = {}
    while waiting:
        for instance in list(waiting):
            page = instance.page()
            if page is not None and page.version >= version:
                by.append(instance.name)
            elif page is not None and page.refused and page.judged >= version:
                refused[instance.name] = page.refused
            else:
                continue
            waiting.remove(instance)
        if not waiting or time.monotonic() > give_up_s:
            break
        time.sleep(POLL_S)
    return Taken(by=sorted(by), refused=refused, silent=[instance.name for instance in waiting])
