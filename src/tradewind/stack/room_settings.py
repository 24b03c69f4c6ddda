"""The settings of every process, read before any is started: what would stop one at its start stops `tradewind up` itself."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from tradewind.chassis.settings import ServiceSettings, Settings, SettingsError, load
from tradewind.chassis.settings_file import FILE_VARIABLE, ConfigFileError, require_sections, room_of_prefix
from tradewind.sandbox.settings import SandboxSettings
from tradewind.stack.errors import StackError


def settings_class(room: str) -> type[ServiceSettings]:
    """What `room` reads from its environment; imports that room's settings and nothing else of it."""
    module = importlib.import_module(f"tradewind.services.{room}.settings")
    found: type[ServiceSettings] = getattr(module, f"{room.capitalize()}Settings")
    return found


def require_known_sections(environ: Mapping[str, str], rooms: tuple[str, ...]) -> None:
    """Raises StackError: the file of settings that `environ` names is wrong, or has a section of no room."""
    if path := environ.get(FILE_VARIABLE):
        try:
            require_sections(path, (*rooms, room_of_prefix(SandboxSettings.PREFIX)))
        except ConfigFileError as error:
            raise StackError("\n  ".join(error.faults)) from error


def require_sound(environments: Mapping[type[Settings], Mapping[str, str]]) -> None:
    """Read each class from its environment. Raises StackError that names each wrong variable once, a line each."""
    faults: dict[str, None] = {}  # a set that keeps its order: rooms share variables
    for kind, environ in environments.items():
        try:
            load(kind, environ)
        except SettingsError as error:
            faults.update(dict.fromkeys(error.faults))
    if faults:
        raise StackError("\n  ".join(faults))
