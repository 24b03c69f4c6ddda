"""The books: for finance."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from tradewind.chassis.http import Call, Id, Page, PageQuery
from tradewind.contracts.money import Currency, Money
from tradewind.services.payment import usecases
from tradewind.services.payment.api.books import (
    Accounts,
    EntryView,
    StatementView,
    TrialBalances,
    accounts_view,
    statement_view,
    trial_balances_view,
)
from tradewind.services.payment.api.door import FINANCE, api
from tradewind.services.payment.domain.period import BEGINNING, period
from tradewind.services.payment.parts import Parts
from tradewind.services.payment.store.ledger import Entry, StatementLine
from tradewind.services.payment.store.seals import Seal

_NEWEST_ENTRY = (2**63 - 1, 0)
_NEWEST_SEAL = 2**63 - 1
_TransactionId = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _EntryPosition(msgspec.Struct, frozen=True, array_like=True):
    transaction_id: _TransactionId
    line: Annotated[int, msgspec.Meta(ge=0, le=2**15 - 1)]


class _LinePosition(msgspec.Struct, frozen=True, array_like=True):
    at: Annotated[datetime, msgspec.Meta(tz=True)]
    transaction_id: _TransactionId

    def __post_init__(self) -> None:
        if not 1 < self.at.year < 9999:
            raise ValueError("out of range")


class _SealPosition(msgspec.Struct, frozen=True, array_like=True):
    number: _TransactionId


@api.get("/v1/ledger/accounts", access=FINANCE)
async def list_accounts(call: Call[Parts]) -> Accounts:
    """List the accounts of the ledger with their balances."""
    return accounts_view(await usecases.account_totals(call.parts))


@api.get("/v1/ledger/entries", access=FINANCE)
async def list_entries(
    call: Call[Parts], page: PageQuery, account: str | None = None, payment_id: Id | None = None
) -> Page[EntryView]:
    """List the entries of the ledger, newest first.

    Every transaction has two, a debit and a credit of the same amount.
    """
    after = page.after(_EntryPosition)
    found = await usecases.entries(
        call.parts,
        before=(after.transaction_id, after.line) if after else _NEWEST_ENTRY,
        account=account,
        payment_id=payment_id,
        limit=page.limit + 1,
    )
    return page.page(found, _entry_view, lambda entry: _EntryPosition(entry.transaction_id, entry.line))


@api.get("/v1/ledger/accounts/{code}/statement", access=FINANCE, raises=("account-not-found", "period-invalid"))
async def get_statement(
    call: Call[Parts],
    page: PageQuery,
    code: str,
    currency: Currency,
    from_: datetime | None = None,
    to: datetime | None = None,
) -> StatementView:
    """Show what was booked to an account.

    In one currency and a period, whose ends are optional, in UTC, and half-open: the opening balance, the lines in the order
    they were booked, each with the balance after it, and the closing balance. Balances are positive on the account's own side.
    The period's sums are on every page.
    """
    after = page.after(_LinePosition)
    wanted = period(from_, to)
    account, found = await usecases.account_statement(
        call.parts,
        code,
        currency,
        wanted,
        after=(after.at, after.transaction_id) if after else (BEGINNING, 0),
        limit=page.limit + 1,
    )
    lines = page.page(found.lines, lambda line: line, _line_position)
    return statement_view(account, currency, wanted, found, lines)


@api.get("/v1/ledger/trial-balance", access=FINANCE, raises=("period-invalid",))
async def get_trial_balance(call: Call[Parts], at: datetime | None = None) -> TrialBalances:
    """Show that debits equal credits, by currency.

    With `at`: as it was just before that moment, in UTC; by default now.
    """
    return trial_balances_view(await usecases.account_totals(call.parts, at=at))


@api.get("/v1/ledger/seals", access=FINANCE)
async def list_seals(call: Call[Parts], page: PageQuery) -> Page[Seal]:
    """List the seals of the ledger, newest first.

    A seal is a block of ledger transactions, `from_id` to `to_id`, with a SHA-256 hash over them and over the hash of the block
    before. Keep the newest `hash` somewhere else: a change to anything it covers changes it. `tradewind audit` recomputes all of them.
    """
    after = page.after(_SealPosition)
    found = await usecases.ledger_seals(
        call.parts, before=after.number if after else _NEWEST_SEAL, limit=page.limit + 1
    )
    return page.page(found, lambda seal: seal, lambda seal: _SealPosition(seal.number))


def _line_position(line: StatementLine) -> _LinePosition:
    return _LinePosition(line.booked_at, line.transaction_id)


def _entry_view(entry: Entry) -> EntryView:
    return EntryView(
        transaction_id=entry.transaction_id,
        account=entry.account,
        side="debit" if entry.amount_minor > 0 else "credit",
        amount=Money(entry.amount_minor, entry.currency),
        cause=entry.cause,
        cause_id=entry.cause_id,
        payment_id=entry.payment_id,
        booked_at=entry.booked_at,
    )
