"""The plan of a fault run is a function of its seed and options, and deals fairly."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from tradewind.chaos.links import BROKER
from tradewind.chaos.plan import (
    ALONE,
    KAFKA,
    KINDS,
    SUPERVISOR,
    UNRULY_CALLS,
    UNRULY_WEBHOOKS,
    Fault,
    Options,
    instances,
    make_plan,
)
from tradewind.sandbox.script import RULES
from tradewind.stack.rooms import all_rooms


def faults(options: Options) -> list[Fault]:
    return [strike.fault for wave in make_plan(options) for strike in wave.strikes]


@pytest.mark.parametrize("seed", range(20))
def test_the_same_seed_makes_the_same_plan(seed: int) -> None:
    first, second = make_plan(Options(seed=seed)), make_plan(Options(seed=seed))
    assert msgspec.json.encode(first) == msgspec.json.encode(second)


def test_another_seed_makes_another_plan() -> None:
    assert len({msgspec.json.encode(make_plan(Options(seed=seed))) for seed in range(50)}) == 50


def test_a_plan_is_what_it_was() -> None:
    """Seeds in bug reports must go on meaning what they meant: a change of the dealing changes this test on purpose."""
    assert [str(fault) for fault in faults(Options(seed=1, seconds=20.0))] == PLAN_OF_SEED_1


def test_options_change_nothing_but_what_they_say() -> None:
    short, long = faults(Options(seed=3, seconds=30)), faults(Options(seed=3, seconds=90))
    assert long[: len(short)] == short
    assert faults(Options(seed=3, rate_per_s=5)) == faults(Options(seed=3, rate_per_s=50))
    assert {fault.kind for fault in faults(Options(seed=3, kinds=("kill", "stop")))} == {"kill", "stop"}


@pytest.mark.parametrize("seed", range(10))
def test_every_kind_comes_in_every_deal(seed: int) -> None:
    dealt = [fault.kind for fault in faults(Options(seed=seed, seconds=300))]
    deck = 19
    for start in range(0, len(dealt) - deck, deck):
        counts = Counter(dealt[start : start + deck])
        assert set(counts) == set(KINDS)
        assert counts["kill"] == 4


def test_every_process_is_killed_and_stopped_in_a_long_run() -> None:
    dealt = faults(Options(seed=5, seconds=3_600))
    expected = {"postgres", "valkey", "envoy", "psp-sandbox", "mailbox", SUPERVISOR, *instances(Options(seed=5))}
    for kind in ("kill", "stop"):
        met = {fault.target for fault in dealt if fault.kind == kind}
        assert expected <= met, f"{kind}: {expected - met}"
    assert "postgres-backend" in {fault.target for fault in dealt if fault.kind == "kill"}
    assert set(all_rooms()) <= {fault.target for fault in dealt if fault.kind == "restart"}


@pytest.mark.parametrize("seed", range(30))
def test_some_faults_are_alone_and_others_come_in_pairs(seed: int) -> None:
    for wave in make_plan(Options(seed=seed, seconds=200)):
        struck = [strike.fault for strike in wave.strikes]
        if len(struck) > 1:
            assert not [fault for fault in struck if fault.kind in ALONE or fault.target == SUPERVISOR]
            assert len({fault.target for fault in struck}) == len(struck)


def test_the_seconds_bound_the_plan() -> None:
    for seconds in (1, 20, 100):
        waves = make_plan(Options(seed=9, seconds=seconds))
        assert sum(wave.nominal_s for wave in waves[:-1]) < seconds <= sum(wave.nominal_s for wave in waves)


def test_the_providers_words_are_in_its_script() -> None:
    words = {type_.__struct_config__.tag for type_ in RULES}
    assert {*UNRULY_CALLS, *UNRULY_WEBHOOKS} <= words


def test_with_kafka_the_broker_is_a_target_too() -> None:
    dealt = faults(Options(seed=5, seconds=3_600, kafka=True))
    for kind in ("kill", "stop"):
        assert KAFKA in {fault.target for fault in dealt if fault.kind == kind}
    parted = {fault.target for fault in dealt if fault.kind == "partition"}
    assert BROKER in parted
    assert not [way for way in parted if way.endswith("/bus")]


def test_scaled_rooms_have_numbered_instances() -> None:
    assert Counter(instances(Options(seed=1, scale={"order": 3})))["order-3"] == 1
    assert "payment-2" not in instances(Options(seed=1, scale={}))


PLAN_OF_SEED_1 = [
    "outage psp-sandbox unavailable for 4.2 s",
    "partition auth/valkey refuse for 5.4 s",
    "kill postgres-backend",
    "reset notification/bus 10000 for 3.5 s",
    "reset notification/postgres 1000 for 1.7 s",
]
