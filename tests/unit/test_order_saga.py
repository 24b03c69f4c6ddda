"""Where each signal leads from each status, written out in full: the table of the saga, seen from outside."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import get_args

import msgspec
import pytest

from tradewind.chassis.errors import Conflict, Invalid
from tradewind.contracts.money import Money
from tradewind.contracts.order import (
    OrderCancelled,
    OrderConfirmed,
    OrderDelivered,
    OrderLine,
    OrderSettlementDue,
    OrderShipped,
)
from tradewind.contracts.payment import (
    PaymentAuthorized,
    PaymentCancelled,
    PaymentCaptured,
    PaymentFailed,
    PaymentRefunded,
    PaymentRefundFailed,
    PaymentRequiresAction,
)
from tradewind.services.order.domain import saga, signals
from tradewind.services.order.domain.moving import advance
from tradewind.services.order.domain.order import Address, Order, Payment, Status
from tradewind.services.order.domain.signals import Signal, heard
from tradewind.services.order.domain.stock import Movement

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
TOTAL = Money(3_000, "EUR")
STATUSES: tuple[Status, ...] = get_args(Status)
SPOKEN = {"payment_id": "p1", "order_id": "o1", "customer_id": "c1", "amount": TOTAL}


def order(status: Status = "pending", **changes: object) -> Order:
    made = Order(
        id="o1",
        serial=1,
        customer_id="c1",
        status=status,
        lines=[
            OrderLine(sku="mug", name="Mug", quantity=2, unit_price=Money(1_000, "EUR"), total=Money(2_000, "EUR")),
            OrderLine(sku="tea", name="Tea", quantity=1, unit_price=Money(1_000, "EUR"), total=Money(1_000, "EUR")),
        ],
        total=TOTAL,
        refunded=Money(0, "EUR"),
        payment=Payment(
            id="p1", status="captured" if status in {"confirmed", "shipped", "delivered"} else "processing"
        ),
        shipping_address=Address(name="Ada", line1="1 Main St", city="Bath", postal_code="BA1", country="GB"),
        version=7,
        event_version=3,
        created_at=NOW,
        updated_at=NOW,
        deadline_at=NOW + timedelta(minutes=15),
        look_at=NOW + timedelta(minutes=15),
    )
    return msgspec.structs.replace(made, **changes)


def refunded(amount: int, total: int) -> Signal:
    return heard(
        PaymentRefunded(
            **{**SPOKEN, "amount": Money(amount, "EUR")},
            refund_id="r1",
            refunded=Money(total, "EUR"),
            captured=TOTAL,
            reason="broken",
        )
    )


SIGNALS: dict[str, Signal] = {
    "captured": heard(PaymentCaptured(**SPOKEN)),
    "failed": heard(PaymentFailed(**SPOKEN, code="card_declined")),
    "voided": heard(PaymentCancelled(**SPOKEN)),
    "action_required": heard(PaymentRequiresAction(**SPOKEN, action_url="https://bank.example/3ds")),
    "authorized": heard(PaymentAuthorized(**SPOKEN)),
    "refunded_partly": refunded(500, 500),
    "refunded_fully": refunded(2_500, 3_000),
    "refund_failed": heard(PaymentRefundFailed(**SPOKEN, refund_id="r1", code="closed")),
    "cancel_by_customer": signals.cancel(by_customer=True),
    "cancel_by_support": signals.cancel(by_customer=False),
    "ship": signals.ship("DHL", "JD0001"),
    "deliver": signals.deliver(),
    "overdue": signals.overdue(),
}

STAYS, ILLEGAL = "stays", "illegal"
# pending, confirmed, shipped, delivered, cancelled
EXPECTED: dict[str, tuple[str, str, str, str, str]] = {
    "captured": ("confirmed", STAYS, STAYS, STAYS, STAYS),
    "failed": ("cancelled", STAYS, STAYS, STAYS, STAYS),
    "voided": ("cancelled", STAYS, STAYS, STAYS, STAYS),
    "action_required": (STAYS, STAYS, STAYS, STAYS, STAYS),
    "authorized": (STAYS, STAYS, STAYS, STAYS, STAYS),
    "refunded_partly": (STAYS, STAYS, STAYS, STAYS, STAYS),
    "refunded_fully": ("cancelled", "cancelled", STAYS, STAYS, STAYS),
    "refund_failed": (STAYS, STAYS, STAYS, STAYS, STAYS),
    "cancel_by_customer": ("cancelled", "cancelled", ILLEGAL, ILLEGAL, ILLEGAL),
    "cancel_by_support": ("cancelled", "cancelled", ILLEGAL, ILLEGAL, ILLEGAL),
    "ship": (ILLEGAL, "shipped", ILLEGAL, ILLEGAL, ILLEGAL),
    "deliver": (ILLEGAL, ILLEGAL, "delivered", ILLEGAL, ILLEGAL),
    "overdue": ("cancelled", STAYS, STAYS, STAYS, STAYS),
}
CASES = [(name, status, end) for name, row in EXPECTED.items() for status, end in zip(STATUSES, row, strict=True)]


def test_every_signal_is_in_the_table() -> None:
    assert set(saga.SAGA) == set(EXPECTED) == {signal.name for signal in SIGNALS.values()}
    assert STATUSES == ("pending", "confirmed", "shipped", "delivered", "cancelled")


@pytest.mark.parametrize(("name", "status", "end"), CASES)
def test_where_it_leads(name: str, status: Status, end: str) -> None:
    before = order(status)
    if end == ILLEGAL:
        with pytest.raises(Conflict) as refused:
            advance(before, SIGNALS[name], LATER)
        assert (refused.value.code, refused.value.status) == ("illegal-transition", 409)
        return
    outcome = advance(before, SIGNALS[name], LATER)
    if end == STAYS:
        asks = (name, status) == ("overdue", "cancelled")
        assert outcome is None or (outcome.order.status, outcome.movements) == (status, [])
        assert outcome is None or outcome.order.event_version == before.event_version + asks
        assert outcome is None or isinstance(outcome.event, OrderSettlementDue if asks else type(None))
        return
    assert outcome is not None
    assert outcome.order.status == end
    assert (outcome.order.version, outcome.order.event_version) == (8, 4)
    assert outcome.order.updated_at == LATER
    assert outcome.entry is not None
    assert (outcome.entry.event, outcome.entry.at) == (end, LATER)
    assert outcome.event is not None


@pytest.mark.parametrize(("name", "status", "end"), CASES)
def test_an_event_is_emitted_exactly_when_the_status_changes(name: str, status: Status, end: str) -> None:
    if end != ILLEGAL and (name, status) != ("overdue", "cancelled"):
        outcome = advance(order(status), SIGNALS[name], LATER)
        assert (outcome is not None and outcome.event is not None) == (end != STAYS)


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [
        ("captured", "pending", "sell"),
        ("failed", "pending", "release"),
        ("voided", "pending", "release"),
        ("overdue", "pending", "release"),
        ("cancel_by_customer", "pending", "release"),
        ("cancel_by_support", "confirmed", "return"),
        ("refunded_fully", "pending", "release"),
        ("refunded_fully", "confirmed", "return"),
    ],
)
def test_the_goods_of_every_line_move(name: str, status: Status, kind: str) -> None:
    outcome = advance(order(status), SIGNALS[name], LATER)
    assert outcome is not None
    assert outcome.movements == [Movement("mug", kind, 2, "o1"), Movement("tea", kind, 1, "o1")]


@pytest.mark.parametrize(("name", "status"), [("ship", "confirmed"), ("deliver", "shipped")])
def test_shipping_moves_no_goods_between_heaps(name: str, status: Status) -> None:
    outcome = advance(order(status), SIGNALS[name], LATER)
    assert outcome is not None
    assert outcome.movements == []


@pytest.mark.parametrize(
    ("name", "status", "reason", "code"),
    [
        ("failed", "pending", "declined", "card_declined"),
        ("voided", "pending", "declined", None),
        ("overdue", "pending", "expired", None),
        ("cancel_by_customer", "confirmed", "customer", None),
        ("cancel_by_support", "pending", "support", None),
        ("refunded_fully", "confirmed", "refunded", None),
    ],
)
def test_a_cancellation_says_why_and_what_the_order_was(
    name: str, status: Status, reason: str, code: str | None
) -> None:
    outcome = advance(order(status), SIGNALS[name], LATER)
    assert outcome is not None
    event = outcome.event
    assert isinstance(event, OrderCancelled)
    assert (event.reason, event.was, event.code) == (reason, status, code)
    assert (event.payment_id, event.total, event.customer_id) == ("p1", TOTAL, "c1")
    assert outcome.entry is not None
    assert outcome.entry.detail["reason"] == reason


def test_the_other_events_say_what_happened() -> None:
    confirmed = advance(order(), SIGNALS["captured"], LATER)
    shipped = advance(order("confirmed"), SIGNALS["ship"], LATER)
    delivered = advance(order("shipped"), SIGNALS["deliver"], LATER)
    assert confirmed is not None
    assert shipped is not None
    assert delivered is not None
    assert isinstance(confirmed.event, OrderConfirmed)
    assert confirmed.event.lines == order().lines
    assert confirmed.order.payment.status == "captured"
    assert shipped.event == OrderShipped(
        order_id="o1", number="TW-000001", customer_id="c1", carrier="DHL", tracking="JD0001"
    )
    assert shipped.entry is not None
    assert shipped.entry.detail == {"carrier": "DHL", "tracking": "JD0001"}
    assert isinstance(delivered.event, OrderDelivered)


def test_money_that_comes_after_the_end_is_told_and_moves_nothing() -> None:
    outcome = advance(order("cancelled"), SIGNALS["captured"], LATER)
    assert outcome is not None
    assert outcome.entry is not None
    assert (outcome.order.status, outcome.order.payment.status) == ("cancelled", "captured")
    assert (outcome.entry.event, outcome.entry.cause) == ("captured_too_late", "payment.captured.v1")
    assert (outcome.order.version, outcome.order.event_version) == (8, 3)


def test_a_failure_after_the_money_came_is_ignored() -> None:
    assert advance(order("confirmed"), SIGNALS["failed"], LATER) is None


def test_the_same_news_twice_change_nothing() -> None:
    first = advance(order(), SIGNALS["captured"], LATER)
    assert first is not None
    assert advance(first.order, SIGNALS["captured"], LATER) is None


def test_what_the_customer_has_to_do_is_kept_until_the_payment_is_further() -> None:
    asked = advance(order(), SIGNALS["action_required"], LATER)
    assert asked is not None
    assert asked.order.payment == Payment(id="p1", status="requires_action", action_url="https://bank.example/3ds")
    paid = advance(asked.order, SIGNALS["captured"], LATER)
    assert paid is not None
    assert paid.order.payment == Payment(id="p1", status="captured")
    # Out of order: the question comes after the answer.
    assert advance(paid.order, SIGNALS["action_required"], LATER) is None


def test_refunds_count_up_whatever_order_they_come_in() -> None:
    last = advance(order("shipped"), refunded(1_000, 3_000), LATER)
    assert last is not None
    first = advance(last.order, refunded(2_000, 2_000), LATER)
    assert first is not None
    assert first.order.refunded == Money(3_000, "EUR")
    assert first.order.payment.status == "refunded"
    assert first.order.status == "shipped"


def test_a_full_refund_before_the_capture_was_heard_ends_the_order() -> None:
    ended = advance(order(), SIGNALS["refunded_fully"], LATER)
    assert ended is not None
    assert (ended.order.status, ended.order.refunded) == ("cancelled", TOTAL)
    late = advance(ended.order, SIGNALS["captured"], LATER)
    assert late is not None
    assert (late.order.status, late.order.payment.status) == ("cancelled", "refunded")


@pytest.mark.parametrize(
    "event",
    [
        PaymentCaptured(**{**SPOKEN, "payment_id": "p2"}),
        PaymentCaptured(**{**SPOKEN, "amount": Money(2_999, "EUR")}),
        PaymentCaptured(**{**SPOKEN, "amount": Money(3_000, "USD")}),
        PaymentFailed(**{**SPOKEN, "payment_id": "p2"}, code="x"),
        PaymentRefunded(
            **SPOKEN, refund_id="r", refunded=Money(3_001, "EUR"), captured=Money(3_001, "EUR"), reason="no"
        ),
        PaymentRefunded(**SPOKEN, refund_id="r", refunded=Money(1, "USD"), captured=Money(1, "USD"), reason="no"),
    ],
)
@pytest.mark.parametrize("status", ["pending", "confirmed", "cancelled"])
def test_news_of_other_money_are_refused(event: signals.PaymentEvent, status: Status) -> None:
    with pytest.raises(Invalid) as refused:
        advance(order(status), heard(event), LATER)
    assert refused.value.code == "payment-mismatch"
