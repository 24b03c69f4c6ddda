"""A script while it runs: counts calls and says which rule hits one.

What `next` and `every` hit depends on the order in which calls come. What `chance` hits does not: it is drawn from the
seed, the rule's place, the call's reference and how many calls with it there were, so that a run with the same orders
has the same faults, however its requests are interleaved. Nothing is kept over a restart: a script begins anew with the process.
"""

from __future__ import annotations

from collections import Counter

import msgspec

from tradewind.sandbox.methods import chance
from tradewind.sandbox.script import AnyRule, On, Script


class RuleView(msgspec.Struct, frozen=True):
    """A rule, how many calls it was asked about, and how many it hit."""

    rule: AnyRule
    asked: int
    hit: int


class _Running:
    """A rule with its counts. Each belongs to one kind of call, so only one thread ever touches it."""

    def __init__(self, rule: AnyRule, place: int, seed: int) -> None:
        self.rule = rule
        self.asked = 0
        self.hit = 0
        self._place = place
        self._seed = seed
        self._by_reference: Counter[str] = Counter()

    def hits(self, reference: str) -> bool:
        rule = self.rule
        if rule.reference is not None and rule.reference != reference:
            return False
        self.asked += 1
        if rule.next is not None:
            hit = self.hit < rule.next
        elif rule.every is not None:
            hit = self.asked % rule.every == 0
        else:
            assert rule.chance is not None
            number = self._by_reference[reference]
            self._by_reference[reference] = number + 1
            hit = chance(self._seed, "rule", str(self._place), reference, str(number)) < rule.chance
        self.hit += hit
        return hit


class Playbook:
    """The script in force. `PSP_SANDBOX_SEED` counts where the script names no seed."""

    def __init__(self, script: Script, seed: int) -> None:
        self._seed = seed
        self._running: dict[On, list[_Running]] = {}
        self._all: list[_Running] = []
        self.take(script)

    def take(self, script: Script) -> None:
        """Play `script` from its beginning, instead of what is played now."""
        seed = self._seed if script.seed is None else script.seed
        everything = [_Running(rule, place, seed) for place, rule in enumerate(script.rules)]
        by_kind: dict[On, list[_Running]] = {}
        for running in everything:
            by_kind.setdefault(running.rule.on, []).append(running)
        self._all, self._running = everything, by_kind

    def plays(self, on: On) -> bool:
        """Whether there is any rule about such calls."""
        return on in self._running

    def rule(self, on: On, reference: str) -> AnyRule | None:
        """What is to happen to this call about a charge with `reference`; None: nothing out of the ordinary."""
        for running in self._running.get(on, ()):
            if running.hits(reference):
                return running.rule
        return None

    def view(self) -> list[RuleView]:
        """All rules, with their counts."""
        return [RuleView(running.rule, running.asked, running.hit) for running in self._all]
