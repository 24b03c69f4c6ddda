"""The file layer: settings in TOML, below the environment. `TRADEWIND_CONFIG_FILE` says where it is.

    [all]                        # every room
    log_level = "warning"

    [order]                      # one room; wins over [all]
    pending_ttl_s = 600

A section is a room, a key is the field of its settings class. A secret does not belong here and is refused.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

FILE_VARIABLE = "TRADEWIND_CONFIG_FILE"
ALL = "all"
MAX_FILE_BYTES = 1024 * 1024


class ConfigFileError(Exception):
    """The file is wrong; each fault names the file and the place in it."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def read_file(path: str) -> Mapping[str, Mapping[str, Any]]:
    """The sections of the file at `path`.

    Raises:
        ConfigFileError: it cannot be read, is larger than 1 MiB, is no TOML, or has a key outside of any section.
    """
    try:
        content = Path(path).read_bytes()
        found = tomllib.loads(content.decode())
    except OSError as exc:
        raise ConfigFileError([f"{FILE_VARIABLE}: {path} cannot be read: {exc.strerror or exc}"]) from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigFileError([f"{path}: is no TOML: {exc}"]) from exc
    if len(content) > MAX_FILE_BYTES:
        raise ConfigFileError([f"{path}: is larger than {MAX_FILE_BYTES} bytes"])
    if loose := [key for key, value in found.items() if not isinstance(value, dict)]:
        raise ConfigFileError(
            [f"{path}: {key} stands in no section; write it below [{ALL}] or [room]" for key in loose]
        )
    return found


def require_sections(path: str, rooms: tuple[str, ...]) -> None:
    """Raises ConfigFileError: the file has a section that no room is called."""
    known = (ALL, *rooms)
    strange = [name for name in read_file(path) if name not in known]
    if strange:
        raise ConfigFileError([f"{path}: there is no room [{name}]{nearest(name, known)}" for name in strange])


def texts(
    sections: Mapping[str, Mapping[str, Any]],
    room: str,
    own: Mapping[str, str],
    shared: Mapping[str, str],
    secret: set[str],
    path: str,
) -> dict[str, str]:
    """What the sections say to `room`, as the environment would: texts by the name of the variable.

    `own` and `shared` are the variables by field, of the room and of all rooms; `secret` are variables that are refused.

    Raises:
        ConfigFileError: a key is unknown, a secret, or neither text, number nor boolean.
    """
    found: dict[str, str] = {}
    faults: list[str] = []
    for section, fields in ((ALL, shared), (room, own)):
        for key, value in sections.get(section, {}).items():
            place = f"{path}: [{section}] {key}"
            if key not in fields:
                faults.append(f"{place}: there is no such setting{nearest(key, tuple(fields))}")
            elif (env := own.get(key, fields[key])) in secret:
                faults.append(f"{place}: is a secret, and a file of settings is no place for one; set {env}_FILE")
            elif (text := _text(value)) is None:
                faults.append(f"{place}: {type(value).__name__} is neither text, number nor boolean")
            elif key in own:
                found[env] = text
    if faults:
        raise ConfigFileError(faults)
    return found


def room_of_prefix(prefix: str) -> str:
    """The section of the class whose variables start with `prefix`: `order` of `ORDER_`."""
    return prefix.rstrip("_").lower()


def nearest(name: str, known: tuple[str, ...]) -> str:
    """`. Did you mean a, b?`, or nothing where no name is near."""
    near = get_close_matches(name, known, n=3, cutoff=0.6)
    return f". Did you mean {', '.join(near)}?" if near else ""


def _text(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else None
