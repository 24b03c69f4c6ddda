"""Statements of accounts, and the trial balance of any moment."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.conftest import RoomDatabase
from tests.cursors import IMPOSSIBLE_MOMENTS, cursor
from tests.integration.payment_fixtures import Till, open_till
from tests.sandbox_process import Sandbox
from tradewind.services.payment.domain.ledger import RULES, Cause

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BOOK = """
    INSERT INTO ledger_transaction
        (cause, cause_id, payment_id, debit_account, credit_account, amount_minor, currency, booked_at)
    VALUES ($1, gen_random_uuid(), gen_random_uuid(), $2, $3, $4, $5, $6)
"""


@pytest_asyncio.fixture
async def till(room_database: RoomDatabase, tmp_path: Path) -> AsyncIterator[Till]:
    async with open_till(await room_database("payment"), Sandbox(tmp_path), working=False) as till:
        for hour, cause, amount_minor, currency in (
            (0, Cause.CAPTURE, 1_000, "EUR"),
            (1, Cause.CAPTURE, 500, "EUR"),
            (1, Cause.CAPTURE, 9_000, "USD"),
            (2, Cause.REFUND, 300, "EUR"),
            (2, Cause.CAPTURE, 70, "EUR"),
            (3, Cause.REFUND, 20, "EUR"),
        ):
            debit, credit = RULES[cause]
            at = NOON + timedelta(hours=hour)
            await till.database.execute(BOOK, cause, debit.code, credit.code, amount_minor, currency, at)
        yield till


def at(hour: float) -> str:
    """So many hours after noon, as a query has it."""
    return (NOON + timedelta(hours=hour)).isoformat().replace("+00:00", "Z")


async def statement(till: Till, account: str, query: str = "") -> dict[str, Any]:
    """A statement in euros."""
    path = f"/v1/ledger/accounts/{account}/statement?currency=EUR{query}"
    answer = await till.ask("GET", path, by=till.finance)
    assert answer.status == 200, answer.json
    return dict(answer.json)


def lines(shown: dict[str, Any]) -> list[tuple[str, int, int]]:
    return [(line["side"], line["amount_minor"], line["balance_minor"]) for line in shown["items"]]


def sums(shown: dict[str, Any]) -> tuple[int, int, int, int]:
    return tuple(shown[f"{name}_minor"] for name in ("opening", "debit", "credit", "closing"))  # type: ignore[return-value]


async def test_the_whole_life_of_an_account(till: Till) -> None:
    shown = await statement(till, "psp_clearing")
    assert (shown["account"], shown["kind"], shown["currency"]) == ("psp_clearing", "asset", "EUR")
    assert (shown["from"], shown["to"], shown["next_cursor"]) == (None, None, None)
    assert sums(shown) == (0, 1_570, 320, 1_250)
    assert lines(shown) == [
        ("debit", 1_000, 1_000),
        ("debit", 500, 1_500),
        ("credit", 300, 1_200),
        ("debit", 70, 1_270),
        ("credit", 20, 1_250),
    ]
    assert set(shown["items"][0]) >= {"transaction_id", "cause", "cause_id", "payment_id", "booked_at"}


async def test_a_balance_is_positive_on_the_accounts_own_side(till: Till) -> None:
    sales = await statement(till, "sales")
    assert sums(sales) == (0, 0, 1_570, 1_570)
    assert lines(sales) == [("credit", 1_000, 1_000), ("credit", 500, 1_500), ("credit", 70, 1_570)]
    assert sums(await statement(till, "refunds")) == (0, 320, 0, 320)
    empty = await statement(till, "suspense")
    assert (sums(empty), empty["items"]) == ((0, 0, 0, 0), [])


async def test_a_period_begins_with_what_was_before_and_ends_before_its_end(till: Till) -> None:
    shown = await statement(till, "psp_clearing", f"&from={at(1)}&to={at(3)}")
    assert sums(shown) == (1_000, 570, 300, 1_270)
    assert [balance for _, _, balance in lines(shown)] == [1_500, 1_200, 1_270]
    later = await statement(till, "psp_clearing", f"&from={at(3)}")
    assert sums(later) == (1_270, 0, 20, 1_250)
    quiet = await statement(till, "psp_clearing", f"&from={at(1.25)}&to={at(1.75)}")
    assert (sums(quiet), quiet["items"]) == ((1_500, 0, 0, 1_500), [])


@pytest.mark.parametrize("limit", [1, 2, 4])
async def test_pages_carry_the_balance_on(till: Till, limit: int) -> None:
    whole = await statement(till, "psp_clearing", f"&from={at(0.5)}")
    found: list[dict[str, Any]] = []
    query = f"&from={at(0.5)}&limit={limit}"
    while True:
        page = await statement(till, "psp_clearing", query)
        assert sums(page) == sums(whole)
        found += page["items"]
        if page["next_cursor"] is None:
            break
        query = f"&from={at(0.5)}&limit={limit}&cursor={page['next_cursor']}"
    assert found == whole["items"]


async def test_the_trial_balance_of_a_moment(till: Till) -> None:
    async def trial(query: str = "") -> dict[str, tuple[int, bool]]:
        answer = await till.ask("GET", f"/v1/ledger/trial-balance{query}", by=till.finance)
        assert answer.status == 200, answer.json
        return {each["currency"]: (each["debit_minor"], each["balanced"]) for each in answer.json["items"]}

    assert await trial() == {"EUR": (1_890, True), "USD": (9_000, True)}
    assert await trial(f"?at={at(1)}") == {"EUR": (1_000, True)}
    assert await trial(f"?at={at(2)}") == {"EUR": (1_500, True), "USD": (9_000, True)}
    assert await trial("?at=2026-03-01T14:30:00%2B02:00") == {"EUR": (1_000, True)}
    assert await trial("?at=1999-01-01T00:00:00Z") == {}
    closing = await statement(till, "psp_clearing", f"&to={at(2)}")
    (euros,) = [
        each
        for each in (await till.ask("GET", f"/v1/ledger/trial-balance?at={at(2)}", by=till.finance)).json["items"]
        if each["currency"] == "EUR"
    ]
    (clearing,) = [line for line in euros["accounts"] if line["account"] == "psp_clearing"]
    assert clearing["debit_minor"] - clearing["credit_minor"] == closing["closing_minor"]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/ledger/accounts/pocket/statement?currency=EUR", 404, "account-not-found"),
        ("/v1/ledger/accounts/sales/statement", 400, None),
        ("/v1/ledger/accounts/sales/statement?currency=euro", 400, None),
        ("/v1/ledger/accounts/sales/statement?currency=EUR&from=yesterday", 400, None),
        (f"/v1/ledger/accounts/sales/statement?currency=EUR&from={at(2)}&to={at(1)}", 400, "period-invalid"),
        ("/v1/ledger/accounts/sales/statement?currency=EUR&from=0001-01-01T00:00:00%2B14:00", 400, "period-invalid"),
        ("/v1/ledger/accounts/sales/statement?currency=EUR&limit=101", 400, None),
        ("/v1/ledger/accounts/sales/statement?currency=EUR&cursor=x", 400, "cursor-invalid"),
        ("/v1/ledger/trial-balance?at=9999-12-31T23:59:59-14:00", 400, "period-invalid"),
        ("/v1/ledger/trial-balance?at=now", 400, None),
    ],
)
async def test_what_is_refused(till: Till, path: str, status: int, code: str | None) -> None:
    answer = await till.ask("GET", path, by=till.finance)
    assert answer.status == status, answer.json
    assert code in (None, answer.json["code"])


@pytest.mark.parametrize("moment", IMPOSSIBLE_MOMENTS)
async def test_a_position_that_no_page_gave_out_is_refused(till: Till, moment: str) -> None:
    path = f"/v1/ledger/accounts/sales/statement?currency=EUR&cursor={cursor([moment, 1])}"
    refused = await till.ask("GET", path, by=till.finance)
    assert (refused.status, refused.json["code"]) == (400, "cursor-invalid")


async def test_statements_are_for_finance(till: Till) -> None:
    path = "/v1/ledger/accounts/sales/statement?currency=EUR"
    assert (await till.ask("GET", path)).status == 401
    for caller in (till.introduce(), till.support):
        assert (await till.ask("GET", path, by=caller)).status == 403
