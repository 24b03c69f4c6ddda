"""Sharing work: everything belongs to somebody, nothing to two, and nobody has much more than another."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from tradewind.chassis.debounce import Debounced
from tradewind.chassis.shares import Unit, fair_share


@given(st.integers(1, 1_000), st.integers(1, 40), st.sets(st.integers(1, 100_000), min_size=1, max_size=12))
def test_shares_are_disjoint_complete_and_even(class_: int, units: int, members: set[int]) -> None:
    shares = [fair_share(class_, units, list(members), me) for me in members]
    assert sum(len(share) for share in shares) == units
    assert set().union(*shares) == {Unit(class_, number) for number in range(units)}
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_the_odd_units_of_several_classes_go_to_several_members() -> None:
    holders = {me for me in (11, 12, 13) for class_ in (1, 2, 3) if fair_share(class_, 1, [11, 12, 13], me)}
    assert holders == {11, 12, 13}


def test_who_is_no_member_gets_nothing() -> None:
    assert fair_share(1, 8, [11], 12) == set()


async def test_many_calls_make_few_runs_and_none_is_forgotten() -> None:
    called = 0
    seen: list[int] = []

    async def run() -> None:
        seen.append(called)
        await asyncio.sleep(0)

    debounced = Debounced(run, gap_s=0.01)
    for called in range(1, 101):  # noqa: B007 - `run` reads it
        debounced.call()
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        while not seen or seen[-1] != 100:
            await asyncio.sleep(0.001)
    assert seen[0] == 1
    assert len(seen) < 20
    await debounced.close()


async def test_a_closed_one_does_not_run_any_more() -> None:
    runs: list[None] = []

    async def run() -> None:
        runs.append(None)

    debounced = Debounced(run, gap_s=60.0)
    debounced.call()
    await asyncio.sleep(0)
    debounced.call()
    await debounced.close()
    assert len(runs) == 1
