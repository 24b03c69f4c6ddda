"""Retries: what is parked, for how long, and how far a partition may be called done."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradewind.chassis.attempts import Tally
from tradewind.chassis.consumer import RetryPolicy
from tradewind.chassis.consumer.parking import CROWDED, Parking
from tradewind.chassis.consumer.progress import Progress
from tradewind.chassis.consumer.verdict import Verdict, judge
from tradewind.chassis.deadletters import MAX_DETAIL_CHARS, describe
from tradewind.chassis.errors import Conflict, Invalid, NotFound, Unavailable
from tradewind.chassis.events import Undecodable
from tradewind.chassis.transport import Delivered

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def delivered(offset: int, key: str = "k", partition: int = 0) -> Delivered:
    return Delivered(
        topic="parcel", key=key, id=f"{partition}-{offset}", type="t", value=b"", partition=partition, offset=offset
    )


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (Undecodable("x"), Verdict.NEVER),
        (Invalid("x"), Verdict.NEVER),
        (Unavailable("payment-unavailable"), Verdict.LATER),
        # Asked only once the database has answered: then the message did it.
        (Unavailable("database-unavailable"), Verdict.AGAIN),
        (Conflict("x"), Verdict.AGAIN),
        (NotFound("x"), Verdict.AGAIN),
        (KeyError("x"), Verdict.AGAIN),
        (TimeoutError(), Verdict.AGAIN),
    ],
)
def test_verdicts(error: Exception, verdict: Verdict) -> None:
    assert judge(error) is verdict


def test_the_wait_doubles_up_to_its_limit() -> None:
    policy = RetryPolicy(attempts=8, first_s=0.1, most_s=1.0)
    assert [policy.pause_s(n) for n in (1, 2, 3, 4, 5, 60)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_a_key_waits_and_what_follows_waits_behind_it() -> None:
    parking = Parking(RetryPolicy(attempts=3, first_s=1.0))
    assert not parking.queue(delivered(0))
    parking.fail(delivered(0), KeyError("x"), at=NOW, now_s=10.0)
    assert parking.queue(delivered(1))
    assert parking.queue(delivered(2))
    assert not parking.queue(delivered(3, key="other"))
    assert parking.due(10.9) == []
    assert parking.next_due_s() == 11.0
    (parked,) = parking.due(11.0)
    assert parked.head.offset == 0
    assert [each.offset for each in parking.settle(parked)] == [1, 2]
    assert len(parking) == 0
    assert not parking.queue(delivered(4))


def test_attempts_are_bounded_and_then_it_is_hopeless_at_once() -> None:
    parking = Parking(RetryPolicy(attempts=3, first_s=1.0))
    for now_s in (0.0, 1.0, 3.0):
        parked = parking.fail(delivered(0), KeyError("x"), at=NOW, now_s=now_s)
    assert (parked.attempts, parked.hopeless, parked.due_s) == (3, True, 3.0)


def test_a_neighbour_that_is_away_never_makes_it_hopeless() -> None:
    parking = Parking(RetryPolicy(attempts=3, first_s=1.0, most_s=4.0))
    for n in range(50):
        parked = parking.fail(delivered(0), Unavailable("payment-unavailable"), at=NOW, now_s=float(n))
    assert (parked.attempts, parked.hopeless, parked.due_s) == (0, False, 53.0)


def test_a_full_partition_is_left_alone_until_it_has_emptied() -> None:
    parking = Parking(RetryPolicy())
    parked = parking.fail(delivered(0), KeyError("x"), at=NOW, now_s=0.0)
    for offset in range(1, CROWDED):
        assert parking.crowded() == set()
        parking.queue(delivered(offset))
    assert parking.crowded() == {("parcel", 0)}
    parking.settle(parked)
    assert parking.crowded() == set()


def test_a_lost_partition_is_forgotten_whole() -> None:
    parking = Parking(RetryPolicy())
    parking.fail(delivered(0), KeyError("x"), at=NOW, now_s=0.0)
    parking.fail(delivered(5, key="far", partition=1), KeyError("x"), at=NOW, now_s=0.0)
    parking.forget({("parcel", 0)})
    assert not parking.queue(delivered(1))
    assert parking.queue(delivered(6, key="far", partition=1))


def test_a_partition_is_done_up_to_its_first_unfinished_message() -> None:
    progress = Progress()
    for offset in (4, 5, 6):
        progress.begin(delivered(offset))
    progress.done([delivered(4), delivered(6)])
    assert progress.moved() == {("parcel", 0): 5}
    progress.kept({("parcel", 0): 5})
    assert progress.moved() == {}
    progress.done([delivered(5)])
    assert progress.moved() == {("parcel", 0): 7}


def test_messages_that_are_none_of_ours_count_as_done() -> None:
    progress = Progress()
    progress.skip(delivered(0))
    progress.begin(delivered(1))
    progress.skip(delivered(2))
    assert progress.moved() == {("parcel", 0): 1}
    progress.done([delivered(1)])
    assert progress.moved() == {("parcel", 0): 3}


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.randoms())
def test_no_position_ever_passes_an_unfinished_message(ours: list[bool], random: object) -> None:
    progress = Progress()
    for offset, own in enumerate(ours):
        (progress.begin if own else progress.skip)(delivered(offset))
    waiting = [offset for offset, own in enumerate(ours) if own]
    random.shuffle(waiting)  # type: ignore[attr-defined]
    while waiting:
        assert progress.moved()["parcel", 0] == min(waiting)
        progress.done([delivered(waiting.pop())])
    assert progress.moved()["parcel", 0] == len(ours)


def test_a_forgotten_partition_starts_anew() -> None:
    progress = Progress()
    progress.begin(delivered(7))
    progress.forget([("parcel", 0)])
    assert progress.moved() == {}
    progress.begin(delivered(3))
    progress.done([delivered(3), delivered(7)])
    assert progress.moved() == {("parcel", 0): 4}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("duplicate key\nDETAIL:  Key (email)=(ann@example.test) already exists.", "duplicate key"),
        ("cannot reach postgresql://ann:hunter2@db/x", "cannot reach postgresql://***@db/x"),
        ("", ""),
        ("a\x00b", "ab"),
    ],
)
def test_a_dead_letter_says_why_without_secrets_or_rows(text: str, kept: str) -> None:
    assert describe(ValueError(text)) == kept


def test_the_reason_is_bounded() -> None:
    assert len(describe(ValueError("x" * 10_000))) <= MAX_DETAIL_CHARS + 1


def test_failures_from_before_a_restart_count() -> None:
    parking = Parking(RetryPolicy(attempts=5, first_s=1.0))
    long_ago = datetime(2026, 1, 1, tzinfo=UTC)
    parked = parking.fail(delivered(0), KeyError("x"), at=NOW, now_s=0.0, tally=Tally(4, 6, long_ago))
    assert (parked.attempts, parked.first_at, parked.hopeless, parked.due_s) == (4, long_ago, False, 10.0)
    assert parking.fail(delivered(0), KeyError("x"), at=NOW, now_s=9.0).hopeless
