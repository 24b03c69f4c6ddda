"""The checks, one file a subject. Each takes the books and yields the violations it finds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from tradewind.audit.checks import events, figures, keys, ledger, limits, orders, payments, stock
from tradewind.audit.invariants import Violation
from tradewind.audit.sources import Books

Check: TypeAlias = Callable[[Books], Awaitable[list[Violation]]]

CHECKS: tuple[Check, ...] = (
    ledger.sums_to_zero,
    payments.captured_once_in_our_books,
    payments.captured_once_at_the_provider,
    keys.successes_have_their_resource,
    events.took_effect_once,
    events.versions_have_no_gap,
    stock.adds_up,
    figures.one_message_id_per_notification,
    figures.analytics_equal_the_ledger,
    limits.nothing_is_overdue,
    events.dead_letters_are_listed,
    orders.money_and_goods_match,
)
