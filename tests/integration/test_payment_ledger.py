"""The books: always balanced, never changed, and open to finance."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from tests.conftest import RoomDatabase
from tests.cursors import IMPOSSIBLE_MOMENTS, cursor
from tests.integration.payment_fixtures import Till, new_order, open_till, provider_and_database
from tradewind.chassis.ids import new_id
from tradewind.services.payment.domain.ledger import CHART, RULES

ROW = (
    "INSERT INTO ledger_transaction (cause, cause_id, payment_id, debit_account, credit_account, amount_minor, currency)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7)"
)


@pytest_asyncio.fixture
async def till(room_database: RoomDatabase, tmp_path: Path) -> AsyncIterator[Till]:
    async with provider_and_database(room_database, tmp_path) as (access, sandbox):
        async with open_till(access, sandbox) as till:
            yield till


async def test_the_chart_in_the_database_is_the_domains(till: Till) -> None:
    rows = await till.database.rows("SELECT code, kind, meaning FROM ledger_account ORDER BY code")
    assert [tuple(row) for row in rows] == sorted((each.code, each.kind.value, each.meaning) for each in CHART)


async def test_every_rule_is_known_to_the_database_and_no_other(till: Till) -> None:
    for cause, (debit, credit) in RULES.items():
        await till.database.execute(ROW, cause, new_id(), new_id(), debit.code, credit.code, 1, "EUR")
        with pytest.raises(asyncpg.CheckViolationError):
            await till.database.execute(ROW, cause, new_id(), new_id(), credit.code, debit.code, 1, "EUR")


async def test_the_service_may_not_change_what_is_booked(till: Till) -> None:
    await till.pay()
    for statement in (
        "UPDATE ledger_transaction SET amount_minor = 1",
        "DELETE FROM ledger_transaction",
        "TRUNCATE ledger_transaction",
        "UPDATE ledger_account SET kind = 'income'",
        "INSERT INTO ledger_account VALUES ('pocket', 'asset', 'Mine.')",
        "ALTER TABLE ledger_transaction DISABLE TRIGGER ALL",
        "DROP TABLE ledger_transaction",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await till.database.execute(statement)
    for statement in ("UPDATE ledger_entry SET amount_minor = 1", "DELETE FROM ledger_entry"):
        with pytest.raises(asyncpg.PostgresError):
            await till.database.execute(statement)


async def test_nor_does_a_migration_by_accident(till: Till) -> None:
    await till.pay()
    owner = await asyncpg.connect(till.access.owner_url)
    try:
        for statement in (
            "UPDATE ledger_transaction SET amount_minor = 1",
            "DELETE FROM ledger_transaction",
            "TRUNCATE ledger_transaction",
            "DELETE FROM ledger_account",
        ):
            with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
                await owner.execute(statement)
    finally:
        await owner.close()


async def test_a_cause_is_booked_once(till: Till) -> None:
    order = await till.pay()
    sql = "SELECT cause_id, payment_id FROM ledger_transaction WHERE payment_id = $1"
    row = await till.database.row(sql, order.payment_id)
    assert row is not None
    with pytest.raises(asyncpg.UniqueViolationError):
        await till.database.execute(
            ROW, "capture", row["cause_id"], row["payment_id"], "psp_clearing", "sales", 1, "EUR"
        )


async def test_the_database_holds_the_promises_of_a_payment(till: Till) -> None:
    order = await till.pay()
    twin = new_order()
    columns = "id, order_id, customer_id, amount_minor, currency, payment_method"
    values = f"'{twin.payment_id}', '{order.id}', '{twin.customer_id}', 1, 'EUR', 'x'"
    for statement, error in (
        (f"UPDATE payment SET refunded_minor = 2000 WHERE id = '{order.payment_id}'", asyncpg.CheckViolationError),
        (f"UPDATE payment SET captured_minor = 2000 WHERE id = '{order.payment_id}'", asyncpg.CheckViolationError),
        (f"UPDATE payment SET refunding_minor = 2000 WHERE id = '{order.payment_id}'", asyncpg.CheckViolationError),
        (f"INSERT INTO payment ({columns}) VALUES ({values})", asyncpg.UniqueViolationError),
        (
            f"INSERT INTO attempt (id, payment_id, provider) VALUES ('{new_id()}', '{order.payment_id}', 'sandbox')",
            asyncpg.UniqueViolationError,
        ),
    ):
        with pytest.raises(error):
            await till.database.execute(statement)


async def test_finance_reads_accounts_and_trial_balance(till: Till) -> None:
    first, second = await till.pay(), await till.pay(new_order(amount_minor=501))
    await till.refund(first, 99)
    await till.until(first, "partially_refunded")
    accounts = (await till.ask("GET", "/v1/ledger/accounts", by=till.finance)).json["items"]
    balances = {each["code"]: [b["balance_minor"] for b in each["balances"]] for each in accounts}
    assert balances == {"psp_clearing": [2401], "refunds": [99], "sales": [2500], "suspense": []}
    (trial,) = (await till.ask("GET", "/v1/ledger/trial-balance", by=till.finance)).json["items"]
    assert (trial["currency"], trial["debit_minor"], trial["credit_minor"], trial["balanced"]) == (
        "EUR",
        2599,
        2599,
        True,
    )
    assert second.payment_id != first.payment_id


async def test_finance_reads_the_entries_page_by_page(till: Till) -> None:
    orders = [await till.pay() for _ in range(3)]
    found = []
    path = "/v1/ledger/entries?limit=2"
    while True:
        page = (await till.ask("GET", path, by=till.finance)).json
        found += page["items"]
        if page["next_cursor"] is None:
            break
        path = f"/v1/ledger/entries?limit=2&cursor={page['next_cursor']}"
    assert len(found) == 6
    assert sum(entry["amount"]["amount_minor"] for entry in found) == 0
    assert len({(entry["transaction_id"], entry["side"]) for entry in found}) == 6

    one = (await till.ask("GET", f"/v1/ledger/entries?payment_id={orders[1].payment_id}", by=till.finance)).json[
        "items"
    ]
    assert [(entry["account"], entry["side"]) for entry in one] == [("sales", "credit"), ("psp_clearing", "debit")]
    sales = (await till.ask("GET", "/v1/ledger/entries?account=sales", by=till.finance)).json["items"]
    assert [entry["account"] for entry in sales] == ["sales"] * 3
    for bad in ("limit=0", "limit=101", "limit=x", "cursor=x", "payment_id=x"):
        assert (await till.ask("GET", f"/v1/ledger/entries?{bad}", by=till.finance)).status == 400


@pytest.mark.parametrize("position", [[2**63, 1], [2**200, 1], [1, 2**15], [1, 2**63], [-1, 1], [1, -1], [1], ["1", 1]])
async def test_a_position_that_no_page_gave_out_is_refused(till: Till, position: list[object]) -> None:
    refused = await till.ask("GET", f"/v1/ledger/entries?cursor={cursor(position)}", by=till.finance)
    assert (refused.status, refused.json["code"]) == (400, "cursor-invalid")


@pytest.mark.parametrize("moment", IMPOSSIBLE_MOMENTS)
async def test_a_moment_that_no_page_gave_out_is_refused(till: Till, moment: str) -> None:
    path = f"/v1/payments/reconciliation?cursor={cursor([moment, new_id()])}"
    refused = await till.ask("GET", path, by=till.finance)
    assert (refused.status, refused.json["code"]) == (400, "cursor-invalid")


async def test_the_books_are_for_finance(till: Till) -> None:
    ledger = ("/v1/ledger/accounts", "/v1/ledger/entries", "/v1/ledger/trial-balance")
    for path in (*ledger, "/v1/payments/reconciliation"):
        assert (await till.ask("GET", path)).status == 401
        for caller in (till.introduce(), till.support):
            assert (await till.ask("GET", path, by=caller)).status == 403
        for caller in (till.finance, till.introduce("admin")):
            assert (await till.ask("GET", path, by=caller)).status == 200
