"""Deadlines: which status has which, when it begins, what its passing does, and that no clock takes a story back in time."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tests.unit.test_order_saga import LATER, NOW, SIGNALS, STATUSES, TOTAL, order, refunded
from tradewind.contracts.order import OrderCancelled, OrderSettlementDue
from tradewind.services.order.domain import signals
from tradewind.services.order.domain.moving import PATIENCE, advance, with_deadline
from tradewind.services.order.domain.order import Order, Payment, Status
from tradewind.services.order.domain.saga import DEADLINES, SAGA, STEPS, deadline_of
from tradewind.services.order.domain.signals import Signal
from tradewind.services.order.settings import OrderSettings


def moved(before: Order, signal: Signal, now: datetime = LATER) -> Order:
    outcome = advance(before, signal, now)
    assert outcome is not None
    return outcome.order


def test_every_status_but_the_last_has_one_and_its_passing_is_in_the_table() -> None:
    assert set(DEADLINES) == set(SAGA["overdue"]) == set(STATUSES) - {"delivered"}
    assert {step.deadline for step in STEPS} - {None} == {deadline.name for deadline in DEADLINES.values()}


def test_the_settings_begin_with_what_the_table_says() -> None:
    defaults = {
        "payment": "pending_ttl_s", "shipping": "shipping_ttl_s", "delivery": "delivery_ttl_s",
        "settlement": "settlement_ttl_s",
    }  # fmt: skip
    required = len(OrderSettings.__struct_fields__) - len(OrderSettings.__struct_defaults__)
    fields = dict(zip(OrderSettings.__struct_fields__[required:], OrderSettings.__struct_defaults__, strict=True))
    for deadline in DEADLINES.values():
        field = defaults[deadline.name]
        assert fields[field] == deadline.after_s
        assert deadline.setting == f"ORDER_{field.upper()}"


@pytest.mark.parametrize(
    ("before", "signal", "name"),
    [
        (order(), SIGNALS["captured"], "shipping"),
        (order("confirmed"), SIGNALS["ship"], "delivery"),
        (order("shipped"), SIGNALS["deliver"], None),
        (order(), SIGNALS["failed"], None),
        (order(), SIGNALS["voided"], None),
        (order(), SIGNALS["cancel_by_customer"], "settlement"),
        (order("confirmed"), SIGNALS["cancel_by_support"], "settlement"),
        (order("confirmed"), SIGNALS["refunded_fully"], None),
        (order(), SIGNALS["overdue"], "settlement"),
    ],
)
def test_a_new_status_begins_its_own(before: Order, signal: Signal, name: str | None) -> None:
    after = moved(before, signal)
    deadline = deadline_of(after)
    assert (deadline.name if deadline else None) == name
    wanted = LATER + timedelta(seconds=PATIENCE[deadline.name]) if deadline else None
    assert (after.deadline_at, after.look_at) == (wanted, wanted)


def test_news_that_leave_the_status_leave_the_deadline() -> None:
    before = with_deadline(order("confirmed"), NOW, PATIENCE)
    after = moved(before, refunded(500, 500))
    assert (after.deadline_at, after.look_at) == (before.deadline_at, before.look_at)
    asked = moved(order(), SIGNALS["action_required"])
    assert asked.deadline_at == order().deadline_at


def test_the_deadline_of_the_money_cancels() -> None:
    outcome = advance(order(), signals.overdue(), LATER)
    assert outcome is not None
    assert isinstance(outcome.event, OrderCancelled)
    assert outcome.event.reason == "expired"
    assert outcome.entry is not None
    assert (outcome.entry.cause, outcome.entry.detail) == (
        "deadline", {"reason": "expired", "was": "pending", "deadline": "payment", "then": "cancelled"},
    )  # fmt: skip


@pytest.mark.parametrize("status", ["confirmed", "shipped"])
def test_what_waits_for_people_is_told_once_and_stays_where_it_is(status: Status) -> None:
    before = with_deadline(order(status), NOW, PATIENCE)
    outcome = advance(before, signals.overdue(), LATER)
    assert outcome is not None
    assert (outcome.order.status, outcome.event, outcome.movements) == (status, None, [])
    assert (outcome.order.deadline_at, outcome.order.look_at) == (before.deadline_at, None)
    assert outcome.entry is not None
    assert (outcome.entry.event, outcome.entry.detail["then"]) == ("overdue", "support_told")


def test_a_cancelled_orders_money_is_asked_for_again_and_again() -> None:
    held = with_deadline(order("cancelled", payment=Payment(id="p1", status="captured")), NOW, PATIENCE)
    now, pauses = held.deadline_at, []
    assert now is not None
    for _ in range(12):
        outcome = advance(held, signals.overdue(), now)
        assert outcome is not None
        assert isinstance(outcome.event, OrderSettlementDue)
        assert outcome.event.total == TOTAL
        held = outcome.order
        assert held.look_at is not None
        pauses.append((held.look_at - now).total_seconds())
        now = held.look_at
    assert pauses[:5] == [600, 600, 1_200, 2_400, 4_800]
    assert max(pauses) == pauses[-1] == 86_400
    back = moved(held, refunded(3_000, 3_000), now)
    assert (back.payment.status, back.deadline_at, back.look_at) == ("refunded", None, None)


def test_a_charge_that_lands_after_the_end_has_a_deadline_again() -> None:
    let_go = moved(moved(order(), SIGNALS["cancel_by_customer"]), SIGNALS["voided"])
    assert deadline_of(let_go) is None
    landed = moved(let_go, SIGNALS["captured"], LATER + timedelta(hours=1))
    assert landed.deadline_at == LATER + timedelta(hours=1, seconds=PATIENCE["settlement"])


def test_times_never_go_back() -> None:
    after = moved(order(updated_at=LATER), SIGNALS["captured"], NOW)
    assert after.updated_at == LATER
    assert after.deadline_at == LATER + timedelta(seconds=PATIENCE["shipping"])
