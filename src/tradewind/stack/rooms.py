"""Which rooms there are: the folders of `tradewind/services`, the control plane first."""

from __future__ import annotations

import importlib.util
from pathlib import Path

CONTROL_PLANE = "gateway"


def all_rooms() -> tuple[str, ...]:
    """Names of the rooms that can be run, `gateway` first, then by the alphabet. Reads the disk, imports no room."""
    services = importlib.util.find_spec("tradewind.services")
    folders = services.submodule_search_locations if services and services.submodule_search_locations else []
    found = sorted({path.parent.name for folder in folders for path in Path(folder).glob("*/app.py")})
    return tuple(sorted(found, key=lambda room: room != CONTROL_PLANE))


def rooms_with_database() -> tuple[str, ...]:
    """The rooms that keep state of their own."""
    return tuple(room for room in all_rooms() if room != CONTROL_PLANE)


def migrations_of(room: str) -> Path | None:
    """The folder of a room's migrations, None when it has none."""
    services = importlib.util.find_spec("tradewind.services")
    folders = services.submodule_search_locations if services and services.submodule_search_locations else []
    return next((path for folder in folders if (path := Path(folder) / room / "migrations").is_dir()), None)
