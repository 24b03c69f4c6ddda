"""Who reads what from the bus, by the code of the rooms."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterable, Mapping

from tradewind.chassis.consumer import Handlers


def handlers_of(room: str) -> Handlers[object] | None:
    """What a room does with events; None for one without a bus door."""
    try:
        module = importlib.import_module(f"tradewind.services.{room}.consumer")
    except ModuleNotFoundError:
        return None
    handlers: Handlers[object] = module.handlers
    return handlers


def subscriptions(rooms: Iterable[str]) -> Mapping[str, Collection[str]]:
    """Consumer groups of these rooms, and the topics that each reads."""
    found = {f"{room}-service": handlers_of(room) for room in rooms}
    return {group: handlers.topics for group, handlers in found.items() if handlers is not None}
