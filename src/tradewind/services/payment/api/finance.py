"""The books, and where the provider says otherwise: for finance."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec

from tradewind.chassis.http import Call, Id, Moment, Page, PageQuery, roles
from tradewind.contracts.money import Money
from tradewind.services.payment import usecases
from tradewind.services.payment.api.books import (
    Accounts,
    EntryView,
    OpenQuestionView,
    ReconciliationView,
    StandingView,
    TrialBalances,
    accounts_view,
    trial_balances_view,
)
from tradewind.services.payment.api.door import api
from tradewind.services.payment.parts import Parts
from tradewind.services.payment.store.ledger import Entry

FINANCE = roles("finance")
_NEWEST_ENTRY = (2**63 - 1, 0)
_NEWEST_QUESTION = (datetime(9999, 1, 1, tzinfo=UTC), "ffffffff-ffff-ffff-ffff-ffffffffffff")


class _EntryPosition(msgspec.Struct, frozen=True, array_like=True):
    transaction_id: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    line: Annotated[int, msgspec.Meta(ge=0, le=2**15 - 1)]


@api.get("/v1/payments/reconciliation", access=FINANCE)
async def get_reconciliation(call: Call[Parts], page: PageQuery) -> ReconciliationView:
    """Compare our books with the provider's.

    `items`: outcomes that nobody knows for two seconds or more, and charges and refunds that are not what we asked for,
    newest first. `standings`: what the provider owes us, by our books and by its own; while payments are under way the two
    may differ.
    """
    after = page.after(Moment)
    found = await usecases.open_questions(
        call.parts, before=(after.at, after.id) if after else _NEWEST_QUESTION, limit=page.limit + 1
    )
    questions = page.page(
        found,
        lambda question: msgspec.convert(question, OpenQuestionView, from_attributes=True),
        lambda question: Moment(question.since, question.id),
    )
    return ReconciliationView(
        items=questions.items,
        next_cursor=questions.next_cursor,
        standings=[
            StandingView(currency=standing.currency, ours_minor=standing.ours_minor, theirs_minor=standing.theirs_minor)
            for standing in await usecases.standings(call.parts)
        ],
    )


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


@api.get("/v1/ledger/trial-balance", access=FINANCE)
async def get_trial_balance(call: Call[Parts]) -> TrialBalances:
    """Show that debits equal credits, by currency."""
    return trial_balances_view(await usecases.account_totals(call.parts))


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
