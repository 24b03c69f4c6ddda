"""What a room hands to the chassis: its doors and how its parts are assembled. A description, nothing runs here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tradewind.chassis.consumer import LINGER_S, Handlers
from tradewind.chassis.events import Event
from tradewind.chassis.foundation import Foundation
from tradewind.chassis.http import Api
from tradewind.chassis.jobs import Job

P = TypeVar("P")


@dataclass(frozen=True, kw_only=True)
class Service(Generic[P]):
    """One room, ready to be served.

    `assemble` makes the room's parts out of the foundation and takes them down again; a test passes its own.
    `jobs` are made from the parts, so that a use case can wake one. `linger_s` is how long events that keep coming gather
    for the next transaction, those the room hears and those it emits: short where somebody waits for what follows.
    """

    room: str
    api: Api
    assemble: Callable[[Foundation], AbstractAsyncContextManager[P]]
    handlers: Handlers[P] | None = None
    linger_s: float = LINGER_S
    jobs: Callable[[P], Sequence[Job[P]]] = field(default=lambda _parts: ())
    emits: tuple[type[Event], ...] = ()

    @property
    def name(self) -> str:
        """The name other services call it by: `order-service`."""
        return f"{self.room}-service"
