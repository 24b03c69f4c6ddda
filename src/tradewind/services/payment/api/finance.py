"""Where the provider says otherwise than our books: for finance."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from tradewind.chassis.http import Call, Moment, PageQuery
from tradewind.services.payment import usecases
from tradewind.services.payment.api.books import (
    OpenQuestionView,
    ReconciliationView,
    StandingView,
)
from tradewind.services.payment.api.door import FINANCE, api
from tradewind.services.payment.parts import Parts

_NEWEST_QUESTION = (datetime(9999, 1, 1, tzinfo=UTC), "ffffffff-ffff-ffff-ffff-ffffffffffff")


@api.get("/v1/payments/reconciliation", access=FINANCE)
async def get_reconciliation(call: Call[Parts], page: PageQuery) -> ReconciliationView:
    """Compare our books with the provider's.

    `items`: outcomes that nobody knows for two seconds or more, and charges and refunds that are not what we asked for,
    newest first. `standings`: what the provider owes us, by our books and by its own; while payments are under way the two
    may differ. Every hour the provider's list of charges is compared with ours: what moved on without our knowing is asked about
    again, and ends as it should; the rest shows in `items`.
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
    compared = await usecases.compared(call.parts)
    return ReconciliationView(
        items=questions.items,
        next_cursor=questions.next_cursor,
        standings=[
            StandingView(currency=standing.currency, ours_minor=standing.ours_minor, theirs_minor=standing.theirs_minor)
            for standing in await usecases.standings(call.parts)
        ],
        compared_upto=compared.upto,
        compared_charges=compared.charges,
    )
