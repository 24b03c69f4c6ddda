"""The arithmetic of the books."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradewind.contracts.money import Money
from tradewind.services.payment.api.books import accounts_view, trial_balances_view
from tradewind.services.payment.domain.ledger import CHART, CLEARING, RULES, AccountKind, Cause, book, grows_by_debit
from tradewind.services.payment.store.ledger import AccountTotals


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_moves_between_two_accounts_of_the_chart(cause: Cause) -> None:
    debit, credit = RULES[cause]
    assert debit != credit
    assert {debit, credit} <= set(CHART)
    assert CLEARING in (debit, credit)


@given(st.lists(st.tuples(st.sampled_from(Cause), st.integers(1, 10**9)), max_size=50))
def test_the_trial_balance_balances(movements: list[tuple[Cause, int]]) -> None:
    debits: Counter[str] = Counter()
    credits_: Counter[str] = Counter()
    for cause, amount_minor in movements:
        booking = book(cause, "c", "p", Money(amount_minor, "EUR"))
        assert booking is not None
        debits[booking.debit.code] += amount_minor
        credits_[booking.credit.code] += amount_minor
    totals = [
        AccountTotals(
            code=each.code,
            kind=each.kind,
            meaning=each.meaning,
            currency="EUR",
            debit_minor=debits[each.code],
            credit_minor=credits_[each.code],
        )
        for each in sorted(CHART, key=lambda each: each.code)
    ]
    (trial,) = trial_balances_view(totals).items
    assert trial.balanced
    balances = {each.code: each.balances[0].balance_minor for each in accounts_view(totals).items}
    own_side = sum(balances[each.code] * (1 if grows_by_debit(each.kind) else -1) for each in CHART)
    assert own_side == 0


def test_nothing_moved_is_nothing_booked_and_nothing_moves_backwards() -> None:
    assert book(Cause.CAPTURE, "c", "p", Money(0, "EUR")) is None
    with pytest.raises(ValueError, match="capture of -1"):
        book(Cause.CAPTURE, "c", "p", Money(-1, "EUR"))


def test_an_account_nothing_was_booked_to_has_no_balance() -> None:
    empty = AccountTotals(
        code="sales", kind=AccountKind.INCOME, meaning="", currency=None, debit_minor=0, credit_minor=0
    )
    assert accounts_view([empty]).items[0].balances == []
    assert trial_balances_view([empty]).items == []
