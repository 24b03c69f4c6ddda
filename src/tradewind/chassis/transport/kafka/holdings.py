"""What a member holds: its partitions, what came of each and was not asked for yet, and how far each is done. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable

from tradewind.chassis.transport import Delivered, Place, Positions


class Holdings:
    """`count` is how many messages wait in partitions that are not set aside."""

    def __init__(self) -> None:
        self.count = 0
        self.aside: set[Place] = set()
        self._waiting: dict[Place, deque[Delivered]] = {}
        self._turn = 0
        self._next: Positions = {}
        self._done: Positions = {}

    @property
    def places(self) -> list[Place]:
        """The partitions."""
        return [*self._waiting]

    def gain(self, places: Iterable[Place]) -> None:
        """These are ours."""
        for place in places:
            self._waiting.setdefault(place, deque())

    def add(self, messages: Iterable[Delivered]) -> None:
        """They came; what is not of ours is left out."""
        for message in messages:
            waiting = self._waiting.get(message.place)
            if waiting is not None:
                waiting.append(message)
                self.count += message.place not in self.aside

    def take(self, max_messages: int, skip: Collection[Place]) -> list[Delivered]:
        """Hand on up to `max_messages`, none of `skip`."""
        places = [place for place, waiting in self._waiting.items() if waiting and place not in skip]
        if not places:
            return []
        # Another one goes first each time, and none takes more than its share while others wait.
        self._turn = (self._turn + 1) % len(places)
        places = places[self._turn :] + places[: self._turn]
        share = -(-max_messages // len(places))
        messages: list[Delivered] = []
        for place in places:
            waiting = self._waiting[place]
            messages += [waiting.popleft() for _ in range(min(len(waiting), share, max_messages - len(messages)))]
        for message in messages:
            self._next[message.place] = message.offset + 1
            self._done.setdefault(message.place, message.offset)
            self.count -= message.place not in self.aside
        return messages

    def set_aside(self, places: set[Place]) -> None:
        """Count these no more, and all others again."""
        self.aside = places
        self.count = sum(len(waiting) for place, waiting in self._waiting.items() if place not in places)

    def moved(self, positions: Positions) -> Positions:
        """Those of `positions` that are of ours and go forward."""
        return {place: offset for place, offset in positions.items() if offset > self._done.get(place, offset)}

    def kept(self, positions: Positions) -> None:
        """The broker has these positions now."""
        self._done.update({place: offset for place, offset in positions.items() if place in self._done})

    def withhold(self, places: Iterable[Place]) -> None:
        """Hand on nothing more of these."""
        for place in places:
            waiting = self._waiting.pop(place, None)
            if waiting and place not in self.aside:
                self.count -= len(waiting)

    def unfinished(self, places: Iterable[Place]) -> set[Place]:
        """Those of which something was handed on and is not kept as done."""
        return {place for place in places if place in self._next and self._done[place] < self._next[place]}

    def lose(self, places: Iterable[Place]) -> None:
        """These are not ours any more."""
        for place in places:
            self.withhold([place])
            self._next.pop(place, None)
            self._done.pop(place, None)
            self.aside.discard(place)
