"""An order whatever happens to it, in whatever order: a provider and a payment that keep the contract, people, deadlines.

The walk is drawn by hypothesis. A model of payment-service emits what the real one may (its own rules, its events late but
each in order); the real saga moves the order. At every step the goods are conserved, and when everything that is under
way has arrived, the money agrees with the status.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.test_order_saga import NOW, SPOKEN, STATUSES, order
from tradewind.chassis.errors import Conflict
from tradewind.contracts.money import Money
from tradewind.contracts.order import OrderCancelled, OrderSettlementDue
from tradewind.contracts.payment import (
    PaymentCancelled,
    PaymentCaptured,
    PaymentFailed,
    PaymentRefunded,
    PaymentRequiresAction,
)
from tradewind.services.order.domain import signals
from tradewind.services.order.domain.moving import advance
from tradewind.services.order.domain.order import Order
from tradewind.services.order.domain.saga import SETTLED, deadline_of
from tradewind.services.order.domain.signals import PaymentEvent, Signal
from tradewind.services.order.domain.stock import shifts

TOTAL = 3_000
LEGAL = {
    ("pending", "confirmed"), ("pending", "cancelled"), ("confirmed", "shipped"), ("confirmed", "cancelled"),
    ("shipped", "delivered"),
}  # fmt: skip


class PaymentModel:
    """What payment-service may do: ask for an action, fail, void, capture; refund what it holds; refund a cancelled order."""

    def __init__(self) -> None:
        self.state = "open"
        self.asked = False
        self.captured = self.refunded = 0
        self.order_cancelled = False
        self.said: deque[PaymentEvent] = deque()

    def ask(self) -> None:
        if self.state == "open" and not self.asked:
            self.asked = True
            self.said.append(PaymentRequiresAction(**SPOKEN, action_url="https://bank.example"))

    def fail(self) -> None:
        if self.state == "open":
            self.state = "failed"
            self.said.append(PaymentFailed(**SPOKEN, code="card_declined"))

    def void(self) -> None:
        if self.state == "open" and self.order_cancelled:
            self.state = "cancelled"
            self.said.append(PaymentCancelled(**SPOKEN))

    def capture(self) -> None:
        """Also after a void: what was given up may land yet."""
        if self.captured == 0 and (self.state == "open" or (self.state == "cancelled" and self.order_cancelled)):
            self.state = "captured"
            self.captured = TOTAL
            self.said.append(PaymentCaptured(**SPOKEN))

    def refund(self, amount: int) -> None:
        amount = min(amount, self.captured - self.refunded)
        if amount:
            self.refunded += amount
            self.said.append(
                PaymentRefunded(
                    **{**SPOKEN, "amount": Money(amount, "EUR")},
                    refund_id="r",
                    refunded=Money(self.refunded, "EUR"),
                    captured=Money(self.captured, "EUR"),
                    reason="any",
                )
            )

    def finish(self) -> None:
        """Reconciliation has its way: nothing stays open, and a cancelled order's money goes back."""
        if self.order_cancelled:
            self.void()
            self.refund(self.captured - self.refunded)
        elif self.state == "open":
            self.capture()


class Walk:
    """An order, its goods, and what it told payment-service and that has not heard yet."""

    def __init__(self) -> None:
        self.order: Order = order()
        self.payment = PaymentModel()
        self.unheard: deque[object] = deque()
        self.heaps = {"mug": [0, 2, 0], "tea": [0, 1, 0]}
        self.now = NOW

    def act(self, signal: Signal, times: int = 1) -> None:
        for _ in range(times):
            before = self.order
            try:
                outcome = advance(before, signal, self.now)
            except Conflict:
                continue
            if outcome is None:
                continue
            self.order = outcome.order
            assert before.status == self.order.status or (before.status, self.order.status) in LEGAL
            assert (self.order.event_version - before.event_version) == (outcome.event is not None)
            assert self.order.updated_at >= before.updated_at
            assert self.order.refunded >= before.refunded
            for sku, shift in shifts(outcome.movements).items():
                self.heaps[sku] = [have + more for have, more in zip(self.heaps[sku], shift, strict=True)]
            if isinstance(outcome.event, OrderCancelled | OrderSettlementDue):
                self.unheard.append(outcome.event)
            self.check_goods()

    def check_goods(self) -> None:
        held = {"pending": 1, "cancelled": 0}.get(self.order.status, 2)
        for sku, pieces in (("mug", 2), ("tea", 1)):
            assert self.heaps[sku] == [pieces if heap == held else 0 for heap in range(3)]

    def deliver_news(self, times: int) -> None:
        if self.payment.said:
            self.act(signals.heard(self.payment.said.popleft()), times)

    def deliver_cancellation(self) -> None:
        if self.unheard:
            self.unheard.popleft()
            self.payment.order_cancelled = True

    def settle(self) -> None:
        """Everything under way arrives."""
        while self.payment.said or self.unheard or self.payment.state == "open" or self._owes():
            self.deliver_cancellation()
            self.payment.finish()
            self.deliver_news(1)

    def _owes(self) -> bool:
        return self.payment.order_cancelled and self.payment.refunded < self.payment.captured


STEPS: dict[str, Callable[[Walk], None]] = {
    "the provider wants an action": lambda walk: walk.payment.ask(),
    "the provider declines": lambda walk: walk.payment.fail(),
    "the provider lets go": lambda walk: walk.payment.void(),
    "the provider captures": lambda walk: walk.payment.capture(),
    "support refunds a part": lambda walk: walk.payment.refund(700),
    "support refunds all": lambda walk: walk.payment.refund(TOTAL),
    "the customer cancels": lambda walk: walk.act(signals.cancel(by_customer=True)),
    "support cancels": lambda walk: walk.act(signals.cancel(by_customer=False)),
    "support ships": lambda walk: walk.act(signals.ship("DHL", "1")),
    "support notes the delivery": lambda walk: walk.act(signals.deliver()),
    "a deadline passes": lambda walk: walk.act(signals.overdue()),
    "news arrive": lambda walk: walk.deliver_news(1),
    "news arrive twice": lambda walk: walk.deliver_news(2),
    "payment hears of the cancellation": lambda walk: walk.deliver_cancellation(),
}


@settings(max_examples=1_500, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 3_600)), max_size=30))
def test_whatever_happens_goods_and_money_end_where_the_status_says(steps: list[tuple[str, int]]) -> None:
    walk = Walk()
    for name, seconds in steps:
        walk.now += timedelta(seconds=seconds)
        STEPS[name](walk)
    walk.settle()
    ended, payment = walk.order, walk.payment
    walk.check_goods()
    assert ended.status in STATUSES
    assert ended.status != "pending"
    kept = payment.captured - payment.refunded
    assert ended.refunded.amount_minor == payment.refunded
    if ended.status == "cancelled":
        assert kept == 0
        assert ended.payment.status in SETTLED
        assert deadline_of(ended) is None
        assert (ended.deadline_at, ended.look_at) == (None, None)
    else:
        assert payment.captured == TOTAL
        assert ended.status in ("shipped", "delivered") or kept > 0
        assert (ended.deadline_at is None) == (ended.status == "delivered")
