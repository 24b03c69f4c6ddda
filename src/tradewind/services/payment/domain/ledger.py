"""The books: a small chart of accounts, and which movement each cause makes between two of them.

A booking moves one amount from the account it credits to the account it debits, so it sums to zero by its very shape.
Whatever the provider holds for us is in `psp_clearing`, also what we did not ask for, which stands against `suspense` until
it is undone. So the balance of `psp_clearing` is what the provider must say it owes us.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from tradewind.contracts.money import Money


class AccountKind(StrEnum):
    """The kinds of account in use: the first two grow by debits, the others by credits. `contra` lessens an income."""

    ASSET = "asset"
    CONTRA = "contra"
    LIABILITY = "liability"
    INCOME = "income"


class Account(msgspec.Struct, frozen=True):
    """An account of the chart. `code` is its stable name."""

    code: str
    kind: AccountKind
    meaning: str


def grows_by_debit(kind: AccountKind) -> bool:
    """Whether debits raise the balance of such an account."""
    return kind in (AccountKind.ASSET, AccountKind.CONTRA)


CLEARING = Account("psp_clearing", AccountKind.ASSET, "Money the payment provider holds for us.")
SALES = Account("sales", AccountKind.INCOME, "What customers paid for their orders.")
REFUNDS = Account("refunds", AccountKind.CONTRA, "What was given back to customers.")
SUSPENSE = Account(
    "suspense", AccountKind.LIABILITY, "Money the provider took that we had not asked for; it goes back."
)
CHART = (CLEARING, SALES, REFUNDS, SUSPENSE)


def find_account(code: str) -> Account | None:
    """The account called `code`."""
    return next((account for account in CHART if account.code == code), None)


class Cause(StrEnum):
    """Why money moved. Together with the id of what caused it, a cause is booked once."""

    CAPTURE = "capture"
    REFUND = "refund"
    MISMATCH = "mismatch"
    MISMATCH_UNDONE = "mismatch_undone"


RULES: dict[Cause, tuple[Account, Account]] = {
    # cause: (debit, credit)
    Cause.CAPTURE: (CLEARING, SALES),
    Cause.REFUND: (REFUNDS, CLEARING),
    Cause.MISMATCH: (CLEARING, SUSPENSE),
    Cause.MISMATCH_UNDONE: (SUSPENSE, CLEARING),
}


class Booking(msgspec.Struct, frozen=True, kw_only=True):
    """One transaction of the ledger: `amount` from the account credited to the account debited."""

    cause: Cause
    cause_id: str
    payment_id: str
    amount: Money

    @property
    def debit(self) -> Account:
        """The account it is taken to."""
        return RULES[self.cause][0]

    @property
    def credit(self) -> Account:
        """The account it is taken from."""
        return RULES[self.cause][1]


def book(cause: Cause, cause_id: str, payment_id: str, amount: Money) -> Booking | None:
    """The booking of a movement; nothing moved, nothing booked.

    Raises:
        ValueError: a negative amount. The opposite direction is another cause.
    """
    if amount.amount_minor < 0:
        raise ValueError(f"{cause} of {amount.amount_minor}")
    if amount.amount_minor == 0:
        return None
    return Booking(cause=cause, cause_id=cause_id, payment_id=payment_id, amount=amount)
