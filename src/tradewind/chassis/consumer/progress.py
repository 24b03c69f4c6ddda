"""How far each partition is done: up to its first unfinished message, whatever has been finished beyond it."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from tradewind.chassis.transport import Delivered, Place, Positions


class Progress:
    """Counts messages in and out. Committing what `moved` returns never claims a message that is not done."""

    def __init__(self) -> None:
        self._ends: Positions = {}
        self._open: dict[Place, set[int]] = {}
        self._kept: Positions = {}

    def begin(self, message: Delivered) -> None:
        """`message` was fetched and is to be handled."""
        self._ends[message.place] = message.offset + 1
        self._open.setdefault(message.place, set()).add(message.offset)

    def skip(self, message: Delivered) -> None:
        """`message` was fetched and is none of ours."""
        self._ends[message.place] = message.offset + 1

    def done(self, messages: Iterable[Delivered]) -> None:
        """`messages` took effect, or are dead letters."""
        for message in messages:
            self._open.get(message.place, set()).discard(message.offset)

    def moved(self) -> Positions:
        """Where positions differ from what was last `kept`."""
        positions = {place: min(self._open.get(place) or (end,)) for place, end in self._ends.items()}
        return {place: offset for place, offset in positions.items() if self._kept.get(place) != offset}

    def kept(self, positions: Positions) -> None:
        """The bus has these positions now."""
        self._kept.update(positions)

    def forget(self, places: Collection[Place]) -> None:
        """Know nothing of `places`: they start anew, here or elsewhere."""
        for place in places:
            self._ends.pop(place, None)
            self._open.pop(place, None)
            self._kept.pop(place, None)
