"""Which function handles which event, and in which order those of a batch are called."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

from tradewind.chassis import trace
from tradewind.chassis.events import Catalogue, Event, Received
from tradewind.chassis.postgres import Tx

P = TypeVar("P")
E = TypeVar("E", bound=Event)
H = TypeVar("H", bound=Hashable)

One: TypeAlias = Callable[[P, Tx, Received[E]], Awaitable[None]]
Many: TypeAlias = Callable[[P, Tx, Sequence[Received[E]]], Awaitable[None]]

MAX_LINKS = 32


class Handlers(Generic[P]):
    """A room's handlers. `P` is the room's parts, the first argument of each; the second is the batch's transaction.

    A handler must not open another transaction nor call anything remote. What it raises undoes the whole transaction.
    """

    def __init__(self) -> None:
        self._calls: dict[type[Event], Many[P, Any]] = {}

    def on(self, event_type: type[E]) -> Callable[[One[P, E]], One[P, E]]:
        """Handle events of a type one by one."""

        def register(call: One[P, E]) -> One[P, E]:
            async def one_by_one(parts: P, tx: Tx, events: Sequence[Received[E]]) -> None:
                for event in events:
                    with _span(event):
                        await call(parts, tx, event)

            self._register(event_type, one_by_one)
            return call

        return register

    def on_batch(self, *event_types: type[E]) -> Callable[[Many[P, E]], Many[P, E]]:
        """Handle events of these types, each many at a time: those of one key in order, of different keys in any."""

        def register(call: Many[P, E]) -> Many[P, E]:
            async def together(parts: P, tx: Tx, events: Sequence[Received[E]]) -> None:
                with _span(*events):
                    await call(parts, tx, events)

            for event_type in event_types:
                self._register(event_type, together)
            return call

        return register

    @property
    def types(self) -> frozenset[type[Event]]:
        """The events that are handled."""
        return frozenset(self._calls)

    @property
    def topics(self) -> frozenset[str]:
        """The topics they travel on."""
        return frozenset(event_type.TOPIC for event_type in self._calls)

    def catalogue(self) -> Catalogue:
        """What decodes them."""
        return Catalogue(self._calls)

    async def apply(self, parts: P, tx: Tx, events: Sequence[Received[Any]]) -> None:
        """Call the handlers for `events`, in the order `plan` gives."""
        for call, together in plan(events, lambda event: self._calls[type(event.data)]):
            await call(parts, tx, together)

    def _register(self, event_type: type[Event], call: Many[P, Any]) -> None:
        if event_type in self._calls:
            raise ValueError(f"{event_type.TYPE} has a handler already")
        self._calls[event_type] = call


def plan(
    events: Iterable[Received[Any]], handler_of: Callable[[Received[Any]], H]
) -> list[tuple[H, list[Received[Any]]]]:
    """Put events with the same handler together, so that few calls serve a batch, and keep those of each subject in order.

    An event joins the stage of its subject's last one where the handler is the same, else the next stage; within a stage
    the order of handlers does not matter, because no subject has two there.
    """
    stages: list[dict[H, list[Received[Any]]]] = []
    latest: dict[str, tuple[int, H]] = {}
    for event in events:
        handler = handler_of(event)
        stage, last = latest.get(event.subject, (0, handler))
        if last is not handler:
            stage += 1
        latest[event.subject] = (stage, handler)
        if stage == len(stages):
            stages.append({})
        stages[stage].setdefault(handler, []).append(event)
    return [group for stage in stages for group in stage.items()]


def _span(first: Received[Any], *others: Received[Any]) -> trace.Span:
    """The span of a handler, in the trace of the first event and linked to those of the others."""
    parent = trace.parse_traceparent(first.traceparent)
    links: list[trace.TraceContext] = []
    if parent is not None and parent.sampled:
        found = (trace.parse_traceparent(event.traceparent) for event in others[:MAX_LINKS])
        links = [context for context in found if context is not None]
    return trace.span(f"consume {first.type}", kind="consumer", parent=parent, links=links)
