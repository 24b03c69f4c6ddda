"""The script of the sandbox: what is refused and how it is told, which calls a rule hits, and that the seed repeats it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from tradewind.sandbox.playbook import Playbook
from tradewind.sandbox.script import RULES, On, Script, read_script


def playbook(*rules: dict[str, Any], seed: int = 0, script_seed: int | None = None) -> Playbook:
    text = msgspec.json.encode({"rules": rules, "seed": script_seed}).decode()
    return Playbook(read_script(text), seed)


def hits(played: Playbook, references: Sequence[str], on: On = On.CHARGE) -> list[bool]:
    return [played.rule(on, reference) is not None for reference in references]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not valid JSON"),
        ('{"rules": [{"on": "charge", "next": 1, "do": "explode"}]}', "explode"),
        ('{"rules": [{"on": "charge", "do": "silent"}]}', "exactly one of next, every and chance"),
        (
            '{"rules": [{"on": "charge", "next": 1, "every": 2, "do": "silent"}]}',
            "exactly one of next, every and chance",
        ),
        ('{"rules": [{"on": "lunch", "next": 1, "do": "silent"}]}', "lunch"),
        ('{"rules": [{"on": "charge", "next": 0, "do": "silent"}]}', "next"),
        ('{"rules": [{"on": "charge", "chance": 1.5, "do": "silent"}]}', "chance"),
        ('{"rules": [{"on": "webhook", "next": 1, "do": "cut"}]}', "`cut` is for cancel, capture, charge"),
        ('{"rules": [{"on": "charge", "next": 1, "do": "never"}]}', "`never` is for webhook"),
        ('{"rules": [{"on": "charge", "next": 1, "do": "error", "status": 404}]}', "404"),
        ('{"rules": [{"on": "charge", "next": 1, "do": "wrong_amount", "by_minor": 0}]}', "0 is the right amount"),
        ('{"rules": [{"on": "capture", "next": 1, "do": "wrong_currency"}]}', "only the answer can be wrong"),
        ('{"rules": [{"on": "charge", "next": 1, "do": "late", "wait_s": 3}]}', "wait_s"),
        ('{"rules": [{"on": "charge", "next": 1, "do": "late", "wait_ms": 600000}]}', "wait_ms"),
        ('{"rule": []}', "rule"),
    ],
)
def test_a_wrong_script_is_refused_with_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        read_script(text)
    assert says in str(refused.value)


def test_an_empty_script_is_none() -> None:
    assert read_script("") == read_script("  \n") == read_script("{}") == Script()


def test_every_rule_can_be_said_in_json_and_back() -> None:
    tags = [rule.__struct_config__.tag for rule in RULES]
    assert len(set(tags)) == len(tags)
    for rule in RULES:
        for on in rule.ON:
            where = {"where": "answer"} if "where" in rule.__struct_fields__ else {}
            text = msgspec.json.encode(
                {"rules": [{"on": on, "next": 1, "do": rule.__struct_config__.tag, **where}]}
            ).decode()
            (read,) = read_script(text).rules
            assert isinstance(read, rule)


def test_next_hits_so_many_and_no_more() -> None:
    played = playbook({"on": "charge", "next": 3, "do": "silent"})
    assert hits(played, "abcdef") == [True, True, True, False, False, False]
    assert hits(played, "abc", On.REFUND) == [False] * 3
    (view,) = played.view()
    assert (view.asked, view.hit) == (6, 3)


def test_every_hits_each_kth() -> None:
    assert hits(playbook({"on": "charge", "every": 3, "do": "silent"}), "abcdefg") == [
        False, False, True, False, False, True, False,
    ]  # fmt: skip


def test_a_reference_narrows_a_rule() -> None:
    played = playbook({"on": "charge", "next": 2, "do": "silent", "reference": "b"})
    assert hits(played, "abab") == [False, True, False, True]


def test_the_first_rule_that_hits_decides_and_the_next_waits_for_its_turn() -> None:
    played = playbook({"on": "charge", "next": 1, "do": "silent"}, {"on": "charge", "next": 1, "do": "reset"})
    found = [played.rule(On.CHARGE, "a") for _ in range(3)]
    assert [rule and rule.__struct_config__.tag for rule in found] == ["silent", "reset", None]


def test_chance_hits_its_share_by_the_seed_whatever_the_order() -> None:
    rule = {"on": "charge", "chance": 0.25, "do": "silent"}
    references = [f"order-{n}" for n in range(2_000)]
    hit = dict(zip(references, hits(playbook(rule, seed=7), references), strict=True))
    assert 400 < sum(hit.values()) < 600
    shuffled = random.Random(1).sample(references, len(references))
    assert dict(zip(shuffled, hits(playbook(rule, seed=7), shuffled), strict=True)) == hit
    other = dict(zip(references, hits(playbook(rule, seed=8), references), strict=True))
    assert other != hit
    # The script's own seed counts before the process's.
    assert dict(zip(references, hits(playbook(rule, seed=7, script_seed=8), references), strict=True)) == other


def test_a_call_that_is_repeated_is_drawn_anew() -> None:
    drawn = hits(playbook({"on": "charge", "chance": 0.5, "do": "silent"}), ["same"] * 200)
    assert 60 < sum(drawn) < 140


def test_a_script_begins_anew_when_it_is_taken() -> None:
    played = playbook({"on": "charge", "next": 1, "do": "silent"})
    assert hits(played, "ab") == [True, False]
    played.take(read_script('{"rules": [{"on": "charge", "next": 1, "do": "silent"}]}'))
    assert hits(played, "ab") == [True, False]
    played.take(Script())
    assert hits(played, "ab") == [False, False]
    assert played.view() == []
