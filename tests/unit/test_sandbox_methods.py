"""What each payment method does to a request: the same seed plays the same faults, and every client gets there."""

from __future__ import annotations

from collections import Counter

import pytest

from tradewind.sandbox.methods import FAULTY_ATTEMPTS, METHODS, WELL, Fault, Reply, Script, chance, script

# Section 6 of the public contract.
PROMISED = {
    "pm_card_visa",
    "pm_card_chargeDeclined",
    "pm_card_chargeDeclinedInsufficientFunds",
    "pm_card_authenticationRequired",
    "pm_sandbox_timeout_charged",
    "pm_sandbox_timeout_not_charged",
    "pm_sandbox_slow",
    "pm_sandbox_flaky",
}


def play(fault: Fault, attempt: int, reference: str = "r", seed: int = 0) -> Script:
    return script(fault, seed=seed, reference=reference, attempt=attempt)


def test_the_promised_methods_are_all_there() -> None:
    assert set(METHODS) == PROMISED


def test_timeouts_are_silent_once() -> None:
    assert play(Fault.TIMEOUT_CHARGED, 1) == Script(reply=Reply.SILENCE)
    assert play(Fault.TIMEOUT_NOT_CHARGED, 1) == Script(reply=Reply.SILENCE, stores=False)
    assert play(Fault.TIMEOUT_CHARGED, 2) == play(Fault.TIMEOUT_NOT_CHARGED, 2) == WELL


@pytest.mark.parametrize("fault", list(Fault))
def test_every_fault_ends(fault: Fault) -> None:
    for n in range(200):
        last = play(fault, FAULTY_ATTEMPTS + 1, f"r{n}")
        assert (last.stores, last.reply) == (True, Reply.ANSWER)


def test_flaky_plays_every_fault_and_sometimes_none() -> None:
    seen = Counter(str(play(Fault.FLAKY, 1, f"r{n}")) for n in range(1000))
    assert len(seen) == 5
    assert min(seen.values()) > 120


def test_the_seed_decides() -> None:
    def run(seed: int) -> list[Script]:
        return [play(Fault.FLAKY, 1, f"r{n}", seed) for n in range(50)]

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_chance_is_spread_evenly() -> None:
    drawn = [chance(7, "double", str(n)) for n in range(2000)]
    assert all(0 <= value < 1 for value in drawn)
    assert 0.47 < sum(drawn) / len(drawn) < 0.53
    assert chance(7, "ab", "c") != chance(7, "a", "bc")
