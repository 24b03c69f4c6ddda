"""The gate before every operation: who waits, who is refused, who goes first, and that overload costs no work."""

from __future__ import annotations

import asyncio
import time

import pytest

from tradewind.chassis.errors import Unavailable
from tradewind.chassis.http.gate import Gate
from tradewind.chassis.metrics import Metrics


def gate(**numbers: float) -> Gate:
    return Gate(Metrics(service="s", instance="s-1"), **numbers)  # type: ignore[arg-type]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_past_the_places_requests_wait_in_turn() -> None:
    door = gate(at_once=1, reserved=0, queue=10)
    order: list[int] = []
    go = asyncio.Event()

    async def request(number: int) -> None:
        async with door.place(urgent=False):
            order.append(number)
            await go.wait()

    tasks = [asyncio.create_task(request(number)) for number in range(3)]
    await settle()
    assert order == [0]
    go.set()
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2]


async def test_a_full_queue_refuses_at_once_and_sends_elsewhere() -> None:
    door = gate(at_once=1, reserved=0, queue=1)
    async with door.place(urgent=False):
        waiting = asyncio.create_task(door.enter(False))
        await settle()
        with pytest.raises(Unavailable) as refused:
            await door.enter(False)
        assert (refused.value.code, refused.value.status, refused.value.retry_after_s) == ("overloaded", 503, 1)
        assert refused.value.headers["x-tradewind-retry"] == "elsewhere"
    await waiting
    door.leave()


async def test_who_waited_too_long_is_refused_and_leaves_no_hole() -> None:
    door = gate(at_once=1, reserved=0, queue=10, patience_s=0.01)
    async with door.place(urgent=False):
        with pytest.raises(Unavailable, match="waited too long"):
            await door.enter(False)
    async with asyncio.timeout(1), door.place(urgent=False):
        pass


async def test_who_goes_away_while_waiting_takes_no_place_along() -> None:
    door = gate(at_once=1, reserved=0, queue=10)
    async with door.place(urgent=False):
        waiting = asyncio.create_task(door.enter(False))
        await settle()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    # And one that is cancelled in the moment its place comes gives it on.
    async with door.place(urgent=False):
        unlucky = asyncio.create_task(door.enter(False))
        await settle()
    unlucky.cancel()
    await asyncio.gather(unlucky, return_exceptions=True)
    async with asyncio.timeout(1), door.place(urgent=False):
        pass


async def test_a_flood_keeps_nobody_from_what_is_urgent() -> None:
    door = gate(at_once=4, reserved=1, queue=100)
    for _ in range(3):
        await door.enter(False)
    flood = [asyncio.create_task(door.enter(False)) for _ in range(20)]
    await settle()
    async with asyncio.timeout(1):
        await door.enter(True)  # the reserved place
    second = asyncio.create_task(door.enter(True))
    await settle()
    assert not second.done()
    door.leave()
    await settle()
    assert second.done()  # before twenty who came earlier
    assert not any(task.done() for task in flood)
    for task in flood:
        task.cancel()
    await asyncio.gather(*flood, return_exceptions=True)


@pytest.mark.parametrize("overload", [2, 4])
async def test_beyond_its_capacity_a_process_still_does_as_much_as_it_can(overload: int) -> None:
    """Offered a multiple of what it can do, nearly all it does is still for somebody who waits for it."""
    door = gate(at_once=4, reserved=0, queue=8, patience_s=0.1)
    work_s, callers_patience_s, lasts_s = 0.005, 0.25, 1.5
    worker = asyncio.Semaphore(1)
    worked = useful = refused = 0

    async def request() -> None:
        nonlocal worked, useful, refused
        came_s = time.monotonic()
        try:
            async with door.place(urgent=False), worker:
                await asyncio.sleep(work_s)
                worked += 1
        except Unavailable:
            refused += 1
            return
        useful += time.monotonic() - came_s <= callers_patience_s

    tasks = []
    started_s = time.monotonic()
    while time.monotonic() - started_s < lasts_s:
        tasks += [asyncio.create_task(request()) for _ in range(overload * 2)]
        await asyncio.sleep(2 * work_s)
    await asyncio.gather(*tasks)
    assert refused > 0
    assert useful >= 0.9 * worked
