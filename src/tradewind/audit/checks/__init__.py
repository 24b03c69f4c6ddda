"""The checks, by subject. Each takes the books and names the violations it finds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from tradewind.audit.books import Books
from tradewind.audit.checks import (
    charges,
    deadletters,
    delivery,
    effects,
    figures,
    goods,
    keys,
    ledger,
    limits,
    mails,
    money,
    payments,
    stock,
    versions,
)
from tradewind.audit.invariants import Violation

Check: TypeAlias = Callable[[Books], Awaitable[list[Violation]]]

CHECKS: tuple[tuple[str, Check], ...] = (
    ("I1 ledger", ledger.sums_to_zero),
    ("I1 seals", ledger.seals_hold),
    ("I2 payments", payments.captured_once_in_our_books),
    ("I2 provider's charges", charges.captured_once_at_the_provider),
    ("I3 idempotency keys", keys.successes_have_their_resource),
    ("I4 inboxes", delivery.taken_once),
    ("I4 notifications", delivery.noticed_once),
    ("I4, I5 versions", versions.told_once),
    ("I4 effects", effects.facts_agree),
    ("I6 stock", stock.adds_up),
    ("I7 Message-IDs", mails.one_message_id_per_notification),
    ("I8 analytics", figures.analytics_equal_the_ledger),
    ("I9 limits", limits.nothing_is_overdue),
    ("I9 unread events", limits.events_are_read),
    ("I10 dead letters", deadletters.dead_letters_are_listed),
    ("I11 money", money.orders_hold_their_money),
    ("I11 refunds", money.refunds_are_granted),
    ("I11 goods", goods.orders_hold_their_goods),
)
"""What is checked, in order, and how each is called while it runs."""
