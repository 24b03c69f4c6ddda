"""Who hears which event, by the handlers of the services."""

from __future__ import annotations

import importlib
import importlib.util

from tradewind.stack.rooms import all_rooms


def heard_by() -> dict[str, list[str]]:
    """Event types, each with the services that handle it."""
    found: dict[str, list[str]] = {}
    for room in all_rooms():
        name = f"tradewind.services.{room}.consumer"
        if importlib.util.find_spec(name) is not None:
            for event in importlib.import_module(name).handlers.types:
                found.setdefault(event.TYPE, []).append(f"{room}-service")
    return {type_: sorted(rooms) for type_, rooms in sorted(found.items())}
