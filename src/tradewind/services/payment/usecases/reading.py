"""What people may see: their own payments; support and finance those of others; finance the books."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from tradewind.chassis.errors import NotFound, Unavailable
from tradewind.chassis.identity import Caller
from tradewind.chassis.postgres import Statements
from tradewind.services.payment.domain.ledger import CLEARING, Account, find_account
from tradewind.services.payment.domain.period import END, Period, moment
from tradewind.services.payment.parts import Parts
from tradewind.services.payment.store import comparison, ledger, reading, seals
from tradewind.services.payment.store.comparison import Compared
from tradewind.services.payment.store.ledger import AccountTotals, Entry, Statement
from tradewind.services.payment.store.reading import OpenQuestion, Shown
from tradewind.services.payment.store.seals import Seal


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider owes us in a currency: by our books, and by its word (None: it does not answer)."""

    currency: str
    ours_minor: int
    theirs_minor: int | None


async def show_payment(statements: Statements, caller: Caller, payment_id: str) -> Shown:
    """A payment of the caller's; of anybody's for support and finance. Raises NotFound: `payment-not-found`."""
    shown = await reading.find_payment(statements, payment_id)
    if shown is None or not _may_see(caller, shown):
        raise NotFound("payment-not-found", "There is no such payment.")
    return shown


async def payments_of_order(parts: Parts, caller: Caller, order_id: str) -> Sequence[Shown]:
    """The payment of an order, if there is one that the caller may see."""
    shown = await reading.find_payment_of_order(parts.database, order_id)
    return [shown] if shown and _may_see(caller, shown) else []


async def own_payments(parts: Parts, caller: Caller, *, before: str | None, limit: int) -> Sequence[Shown]:
    """The caller's own payments, newest first."""
    return await reading.list_payments(parts.database, caller.subject, before=before, limit=limit)


async def open_questions(parts: Parts, *, before: tuple[datetime, str], limit: int) -> Sequence[OpenQuestion]:
    """Outcomes nobody knows yet, and where the provider disagrees, newest first."""
    return await reading.list_open_questions(parts.database, before=before, limit=limit)


async def compared(parts: Parts) -> Compared:
    """How far the provider's list of charges was compared with ours."""
    return await comparison.find_compared(parts.database, parts.provider.name)


async def standings(parts: Parts) -> Sequence[Standing]:
    """What the provider holds for us, by our books and by its own. While payments are under way the two may differ."""
    ours = {
        totals.currency: totals.debit_minor - totals.credit_minor
        for totals in await ledger.list_totals(parts.database)
        if totals.code == CLEARING.code and totals.currency is not None
    }
    try:
        holdings = {
            holding.currency: holding.captured_minor - holding.refunded_minor
            for holding in await parts.provider.holdings()
        }
    except Unavailable:
        return [
            Standing(currency=currency, ours_minor=amount_minor, theirs_minor=None)
            for currency, amount_minor in sorted(ours.items())
        ]
    return [
        Standing(currency=currency, ours_minor=ours.get(currency, 0), theirs_minor=holdings.get(currency, 0))
        for currency in sorted(ours.keys() | holdings.keys())
    ]


async def account_totals(parts: Parts, *, at: datetime | None = None) -> Sequence[AccountTotals]:
    """The sums of every account and currency, as they were just before `at`; by default now.

    Raises:
        Invalid: 400 `period-invalid`, a time out of range.
    """
    return await ledger.list_totals(parts.database.read, before=moment(at) or END)


async def account_statement(
    parts: Parts, code: str, currency: str, period: Period, *, after: tuple[datetime, int], limit: int
) -> tuple[Account, Statement]:
    """What was booked to an account in a period, with a page of its lines. Raises NotFound: `account-not-found`."""
    account = find_account(code)
    if account is None:
        raise NotFound("account-not-found", "The chart has no such account.")
    found = await ledger.find_statement(parts.database.read, code, currency, period, after=after, limit=limit)
    return account, found


async def ledger_seals(parts: Parts, *, before: int, limit: int) -> Sequence[Seal]:
    """Seals of the ledger, newest first."""
    return await seals.list_seals(parts.database.read, before=before, limit=limit)


async def entries(
    parts: Parts, *, before: tuple[int, int], account: str | None, payment_id: str | None, limit: int
) -> Sequence[Entry]:
    """Ledger entries, newest first."""
    return await ledger.list_entries(
        parts.database.read, before=before, account=account, payment_id=payment_id, limit=limit
    )


def _may_see(caller: Caller, shown: Shown) -> bool:
    return shown.payment.customer_id == caller.subject or caller.has("support", "finance")
