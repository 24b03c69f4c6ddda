"""Who does what, without a coordinator: units of work divided among living sessions by PostgreSQL advisory locks.

A member holds a shared lock that says it is there, and one exclusive lock per unit it owns. Both end with its session,
however that ends, so there is no list of members to keep, no heartbeat to write and nothing to clean up. `pg_locks` tells
everybody the same members; from them each works out its fair share, takes what is free, and says what it has too much.

Locks have two numbers (class, unit). A class is a family of units, such as the partitions of a topic for one group.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from tradewind.chassis.postgres import Statements

_MEMBER = 0x7FFF_FFFF

_JOIN = "SELECT pg_backend_pid(), count(pg_advisory_lock_shared(class, $2)) FROM unnest($1::int[]) AS class GROUP BY 1"
_LOCKS = """
    SELECT classid, objid, pid FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 2 AND granted AND classid = ANY($1::oid[])
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_TAKE = "SELECT class, unit FROM unnest($1::int[], $2::int[]) AS u(class, unit) WHERE pg_try_advisory_lock(class, unit)"
_GIVE = "SELECT count(pg_advisory_unlock(class, unit)) FROM unnest($1::int[], $2::int[]) AS u(class, unit)"


class Unit(NamedTuple):
    """One piece of work: its class, and its number in there from 0."""

    class_: int
    number: int


def fair_share(class_: int, units: int, members: Sequence[int], me: int) -> set[Unit]:
    """The units of a class that fall to `me`. The shares of all `members` are disjoint, complete and differ by one at most.

    The class turns the dealing round, so that the odd units of many classes do not all fall to the same member.
    """
    if me not in members:
        return set()
    seats = sorted(members)
    return {Unit(class_, number) for number in range(units) if seats[(number + class_) % len(seats)] == me}


class Shares:
    """Our part of the units of some classes (`class -> how many units`), on one session.

    Call `enter` on every new session: on an old one's death everything it held is free for others.
    """

    def __init__(self, session: Statements, classes: Mapping[int, int]) -> None:
        self._session = session
        self._classes = dict(classes)
        self._me = 0
        self.held: set[Unit] = set()

    async def enter(self) -> None:
        """Become a member; nothing is held yet."""
        self.held = set()
        self._me = await self._session.value(_JOIN, list(self._classes), _MEMBER)

    async def balance(self) -> tuple[set[Unit], set[Unit]]:
        """Take what is ours and free. Returns what was gained, and the surplus: held, and by now somebody else's due.

        Give the surplus back with `release` as soon as nothing of it is in the works.
        """
        members: dict[int, list[int]] = {class_: [] for class_ in self._classes}
        taken: set[Unit] = set()
        for class_, number, pid in await self._session.rows(_LOCKS, list(self._classes)):
            if number == _MEMBER:
                members[class_].append(pid)
            else:
                taken.add(Unit(class_, number))
        due: set[Unit] = set()
        for class_, units in self._classes.items():
            due |= fair_share(class_, units, members[class_], self._me)
        gained = await self._take(due - self.held - taken)
        return gained, self.held - due

    async def release(self, units: Collection[Unit]) -> None:
        """Let go of units that are held."""
        if units:
            await self._session.execute(_GIVE, [u.class_ for u in units], [u.number for u in units])
            self.held.difference_update(units)

    async def leave(self) -> None:
        """Stop being a member and let go of everything, also of locks that nobody remembers."""
        self.held = set()
        await self._session.execute("SELECT pg_advisory_unlock_all()")

    async def _take(self, units: set[Unit]) -> set[Unit]:
        if not units:
            return set()
        wanted = sorted(units)
        rows = await self._session.rows(_TAKE, [u.class_ for u in wanted], [u.number for u in wanted])
        gained = {Unit(row["class"], row["unit"]) for row in rows}
        self.held |= gained
        return gained
