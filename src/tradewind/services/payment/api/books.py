"""What of the books goes over the wire."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Literal

import msgspec

from tradewind.chassis.http import Page
from tradewind.contracts.money import Currency, Money
from tradewind.services.payment.domain.ledger import Account, AccountKind, grows_by_debit
from tradewind.services.payment.domain.period import BEGINNING, END, Period
from tradewind.services.payment.store.ledger import AccountTotals, Statement, StatementLine


class AccountBalance(msgspec.Struct, frozen=True, kw_only=True):
    """An account in one currency, in minor units. The balance is positive on the account's own side."""

    currency: Currency
    debit_minor: int
    credit_minor: int
    balance_minor: int


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    """An account of the ledger."""

    code: str
    kind: AccountKind
    meaning: str
    balances: list[AccountBalance]


class Accounts(msgspec.Struct, frozen=True):
    """The chart of accounts, whole."""

    items: list[AccountView]
    next_cursor: None = None


class EntryView(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a ledger transaction: a debit is positive, a credit negative, and the two sum to zero."""

    transaction_id: int
    account: str
    side: Literal["debit", "credit"]
    amount: Money
    cause: str
    cause_id: str
    payment_id: str
    booked_at: datetime


class TrialBalanceLine(msgspec.Struct, frozen=True, kw_only=True):
    """An account's sums, in minor units."""

    account: str
    debit_minor: int
    credit_minor: int


class TrialBalance(msgspec.Struct, frozen=True, kw_only=True):
    """All accounts of one currency; `balanced`: debits and credits are the same."""

    currency: Currency
    accounts: list[TrialBalanceLine]
    debit_minor: int
    credit_minor: int
    balanced: bool


class TrialBalances(msgspec.Struct, frozen=True):
    """The trial balance, a currency each."""

    items: list[TrialBalance]
    next_cursor: None = None


class StatementLineView(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of an account, and the balance after it, in minor units."""

    transaction_id: int
    side: Literal["debit", "credit"]
    amount_minor: int
    balance_minor: int
    cause: str
    cause_id: str
    payment_id: str
    booked_at: datetime


class StatementView(msgspec.Struct, frozen=True, kw_only=True):
    """An account in one currency and period, in minor units: opening balance, what moved, closing balance, and a page of lines.

    An open side of the period is null.
    """

    account: str
    kind: AccountKind
    currency: Currency
    from_: datetime | None = msgspec.field(name="from")
    to: datetime | None
    opening_minor: int
    debit_minor: int
    credit_minor: int
    closing_minor: int
    items: list[StatementLineView]
    next_cursor: str | None


class OpenQuestionView(msgspec.Struct, frozen=True, kw_only=True):
    """An outcome nobody knows yet, or something that the provider says otherwise. `looks`: how often it was asked."""

    kind: Literal["unknown_charge", "unknown_refund", "mismatch"]
    id: str
    payment_id: str
    order_id: str
    since: datetime
    ours: str
    theirs: str | None
    looks: int
    resolved_at: datetime | None


class StandingView(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider owes us, by our books and by its word, in minor units; `theirs_minor` is null while it is silent."""

    currency: Currency
    ours_minor: int
    theirs_minor: int | None


class ReconciliationView(msgspec.Struct, frozen=True, kw_only=True):
    """Ours against theirs. `compared_upto`: charges made until then were compared, one by one; null: none yet."""

    items: list[OpenQuestionView]
    next_cursor: str | None
    standings: list[StandingView]
    compared_upto: datetime | None
    compared_charges: int


def accounts_view(totals: Sequence[AccountTotals]) -> Accounts:
    """The chart of accounts with its balances; `totals` is in the order of the accounts."""
    return Accounts(
        [
            AccountView(
                code=code,
                kind=AccountKind(kind),
                meaning=meaning,
                balances=[_balance(each, each.currency) for each in group if each.currency],
            )
            for (code, kind, meaning), group in groupby(totals, lambda each: (each.code, each.kind, each.meaning))
        ]
    )


def trial_balances_view(totals: Sequence[AccountTotals]) -> TrialBalances:
    """The trial balance of every currency."""
    currencies = sorted({each.currency for each in totals if each.currency})
    return TrialBalances([_trial_balance(currency, totals) for currency in currencies])


def statement_view(
    account: Account, currency: str, period: Period, found: Statement, page: Page[StatementLine]
) -> StatementView:
    """A statement with one page of its lines."""
    sign = 1 if grows_by_debit(account.kind) else -1
    return StatementView(
        account=account.code,
        kind=account.kind,
        currency=currency,
        from_=None if period.start == BEGINNING else period.start,
        to=None if period.end == END else period.end,
        opening_minor=sign * found.opening_minor,
        debit_minor=found.debit_minor,
        credit_minor=found.credit_minor,
        closing_minor=sign * (found.opening_minor + found.debit_minor - found.credit_minor),
        items=[
            StatementLineView(
                transaction_id=line.transaction_id,
                side="debit" if line.amount_minor > 0 else "credit",
                amount_minor=abs(line.amount_minor),
                balance_minor=sign * line.sum_minor,
                cause=line.cause,
                cause_id=line.cause_id,
                payment_id=line.payment_id,
                booked_at=line.booked_at,
            )
            for line in page.items
        ],
        next_cursor=page.next_cursor,
    )


def _balance(totals: AccountTotals, currency: str) -> AccountBalance:
    balance_minor = totals.debit_minor - totals.credit_minor
    return AccountBalance(
        currency=currency,
        debit_minor=totals.debit_minor,
        credit_minor=totals.credit_minor,
        balance_minor=balance_minor if grows_by_debit(AccountKind(totals.kind)) else -balance_minor,
    )


def _trial_balance(currency: str, totals: Sequence[AccountTotals]) -> TrialBalance:
    lines = [
        TrialBalanceLine(account=each.code, debit_minor=each.debit_minor, credit_minor=each.credit_minor)
        for each in totals
        if each.currency == currency
    ]
    debit_minor, credit_minor = sum(line.debit_minor for line in lines), sum(line.credit_minor for line in lines)
    return TrialBalance(
        currency=currency,
        accounts=lines,
        debit_minor=debit_minor,
        credit_minor=credit_minor,
        balanced=debit_minor == credit_minor,
    )
