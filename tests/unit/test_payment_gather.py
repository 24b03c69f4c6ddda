"""Group commit: at once when it is quiet, together when it is not, and one bad item harms no other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar

import pytest

from tradewind.chassis.errors import Unavailable
from tradewind.services.payment.gather import GroupCommit


class Book:
    """What was committed, batch by batch."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.bad: set[int] = set()
        self.away = False

    async def commit(self, items: Sequence[int]) -> None:
        await self.gate.wait()
        if self.away:
            raise Unavailable("database-unavailable", "")
        if self.bad & set(items):
            raise ValueError("bad")
        self.batches.append(list(items))


async def test_alone_it_is_committed_at_once() -> None:
    book = Book()
    await GroupCommit(book.commit, linger_s=60.0).submit(1)
    assert book.batches == [[1]]


async def test_what_comes_during_a_commit_shares_the_next() -> None:
    book = Book()
    group: GroupCommit[int] = GroupCommit(book.commit)
    book.gate.clear()
    first = asyncio.create_task(group.submit(0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    rest = [asyncio.create_task(group.submit(n)) for n in range(1, 6)]
    await asyncio.sleep(0)
    assert group.waiting == 5
    book.gate.set()
    await asyncio.gather(first, *rest)
    assert book.batches == [[0], [1, 2, 3, 4, 5]]


async def test_it_lingers_only_while_more_is_coming() -> None:
    book = Book()
    coming = 2
    group: GroupCommit[int] = GroupCommit(book.commit, more_is_coming=lambda: coming > 0, linger_s=0.02)

    async def late() -> None:
        nonlocal coming
        await asyncio.sleep(0.001)
        coming = 0
        await group.submit(2)

    await asyncio.gather(group.submit(1), late())
    assert book.batches == [[1, 2]]


async def test_a_batch_is_bounded() -> None:
    book = Book()
    group: GroupCommit[int] = GroupCommit(book.commit, most=3)
    await asyncio.gather(*(group.submit(n) for n in range(8)))
    assert [len(batch) for batch in book.batches] == [3, 3, 2]


async def test_one_bad_item_fails_alone() -> None:
    book = Book()
    book.bad = {2}
    results = await asyncio.gather(*_submitted(GroupCommit(book.commit), 4), return_exceptions=True)
    assert [isinstance(result, ValueError) for result in results] == [False, False, True, False]
    assert sorted(item for batch in book.batches for item in batch) == [0, 1, 3]


async def test_a_database_that_is_away_is_nobodys_fault() -> None:
    book = Book()
    book.away = True
    group: GroupCommit[int] = GroupCommit(book.commit)
    results = await asyncio.gather(*_submitted(group, 3), return_exceptions=True)
    assert all(isinstance(result, Unavailable) for result in results)
    book.away = False
    await group.submit(7)
    assert book.batches == [[7]]


async def test_who_stops_waiting_does_not_stop_the_commit() -> None:
    book = Book()
    group: GroupCommit[int] = GroupCommit(book.commit)
    book.gate.clear()
    impatient, patient = (asyncio.create_task(group.submit(n)) for n in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    book.gate.set()
    await patient
    assert book.batches == [[0, 1]]


async def test_a_commit_belongs_to_no_request() -> None:
    request: ContextVar[str] = ContextVar("request", default="none")
    seen: list[str] = []

    async def commit(_items: Sequence[int]) -> None:
        seen.append(request.get())

    request.set("mine")
    await GroupCommit(commit).submit(1)
    assert seen == ["none"]


def _submitted(group: GroupCommit[int], count: int) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(group.submit(n)) for n in range(count)]
