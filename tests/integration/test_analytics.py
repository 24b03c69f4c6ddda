"""analytics-service on a real PostgreSQL: figures from events alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest_asyncio

from tests.asgi import call
from tests.conftest import RoomDatabase
from tests.received import received
from tradewind.chassis.http.app import Doorman, build_asgi
from tradewind.chassis.identity import Caller
from tradewind.chassis.ids import new_id
from tradewind.chassis.metrics import Metrics
from tradewind.chassis.postgres import Database
from tradewind.contracts.money import Money
from tradewind.contracts.order import OrderCancelled, OrderConfirmed, OrderLine, OrderPlaced
from tradewind.contracts.payment import PaymentCaptured, PaymentRefunded
from tradewind.services.analytics import usecases
from tradewind.services.analytics.api import api
from tradewind.services.analytics.domain import Summary, period
from tradewind.services.analytics.parts import Parts

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest_asyncio.fixture
async def parts(room_database: RoomDatabase) -> AsyncIterator[Parts]:
    access = await room_database("analytics")
    database = await Database.open(access.url)
    yield Parts(database=database)
    await database.close()


class Sold:
    """One order as the events tell it."""

    def __init__(self, minor: int, *, currency: str = "EUR", customer: str | None = None, sku: str = "mug") -> None:
        self.total = Money(minor, currency)
        self.ids = {"order_id": new_id(), "number": "TW-1", "customer_id": customer or new_id(), "payment_id": new_id()}
        self.lines = [OrderLine(sku=sku, name=sku.title(), quantity=2, unit_price=self.total, total=self.total)]
        self.money = {k: self.ids[k] for k in ("order_id", "customer_id", "payment_id")}

    async def placed(self, parts: Parts, at: datetime = NOON) -> None:
        event = OrderPlaced(**self.ids, payment_method="pm_card_visa", total=self.total, lines=self.lines)
        async with parts.database.transaction() as tx:
            await usecases.count_placed(tx, [received(event, time=at)])

    async def paid(self, parts: Parts, at: datetime = NOON) -> None:
        confirmed = OrderConfirmed(**self.ids, total=self.total, lines=self.lines)
        async with parts.database.transaction() as tx:
            await usecases.count_money(tx, [received(PaymentCaptured(**self.money, amount=self.total), time=at)])
            await usecases.count_confirmed(tx, [received(confirmed, time=at)])

    async def refunded(self, parts: Parts, minor: int, at: datetime = NOON) -> None:
        amount = Money(minor, self.total.currency)
        event = PaymentRefunded(
            **self.money, refund_id=new_id(), amount=amount, refunded=amount, captured=self.total, reason="x"
        )
        async with parts.database.transaction() as tx:
            await usecases.count_money(tx, [received(event, time=at)])

    async def cancelled(self, parts: Parts, at: datetime = NOON) -> None:
        event = OrderCancelled(**self.ids, total=self.total, reason="declined", was="pending")
        async with parts.database.transaction() as tx:
            await usecases.count_cancelled(tx, [received(event, time=at)])


async def test_a_summary_counts_orders_and_money_by_currency(parts: Parts) -> None:
    customer = new_id()
    for minor in (1_000, 2_001):
        sold = Sold(minor, customer=customer)
        await sold.placed(parts)
        await sold.paid(parts)
        await sold.refunded(parts, 500)
    declined = Sold(9_999)
    await declined.placed(parts)
    await declined.cancelled(parts)
    await Sold(700, currency="USD").placed(parts)
    assert await usecases.summarise(parts, period(None, None)) == [
        Summary(
            currency="EUR", orders=3, confirmed=2, cancelled=1, gross=3_001, refunded=1_000, net=2_001,
            customers=2, average_order=1_501,
        ),
        Summary(
            currency="USD", orders=1, confirmed=0, cancelled=0, gross=0, refunded=0, net=0, customers=1, average_order=0
        ),
    ]  # fmt: skip


async def test_a_period_is_half_open(parts: Parts) -> None:
    sold = Sold(1_000)
    await sold.placed(parts)
    await sold.paid(parts)
    assert (await usecases.summarise(parts, period(NOON, NOON + timedelta(seconds=1))))[0].gross == 1_000
    assert await usecases.summarise(parts, period(NOON - timedelta(days=1), NOON)) == []


async def test_money_that_came_before_its_order_counts(parts: Parts) -> None:
    sold = Sold(1_000)
    async with parts.database.transaction() as tx:
        await usecases.count_money(tx, [received(PaymentCaptured(**sold.money, amount=sold.total), time=NOON)])
    assert (await usecases.summarise(parts, period(None, None)))[0].gross == 1_000


async def test_revenue_by_day_and_top_products(parts: Parts) -> None:
    for days, sku in ((0, "mug"), (1, "mug"), (1, "pot")):
        sold = Sold(1_000, sku=sku)
        await sold.placed(parts, NOON + timedelta(days=days))
        await sold.paid(parts, NOON + timedelta(days=days))
    rows = await usecases.list_revenue(parts, period(None, None), "day", limit=10)
    assert [(row.start.day, row.gross) for row in rows] == [(2, 2_000), (1, 1_000)]
    top = await usecases.list_top_products(parts, period(None, None), limit=10)
    assert [(row.sku, row.name, row.quantity, row.amount) for row in top] == [
        ("mug", "Mug", 4, 2_000),
        ("pot", "Pot", 2, 1_000),
    ]


class Verifier:
    async def verify(self, token: str) -> Caller:
        return Caller(subject="u", email="", name="", roles=frozenset([token]), session_id="", token=token)


async def test_figures_are_for_analysts(parts: Parts) -> None:
    app = build_asgi(api, parts, Doorman(Verifier(), parts.database, Metrics()))

    async def get(target: str, role: str) -> Any:
        return await call(app, "GET", target, headers={"authorization": f"Bearer {role}"})

    assert (await get("/v1/analytics/summary", "customer")).status == 403
    assert (await get("/v1/analytics/summary?from=2026-01-01T00:00:00Z&to=2026-02-01", "analyst")).status == 400
    for role in ("analyst", "finance", "admin"):
        answer = await get("/v1/analytics/summary?from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00%2B01:00", role)
        assert (answer.status, answer.json) == (200, {"items": []})
    assert (await get("/v1/analytics/revenue?interval=year", "analyst")).status == 400
    assert (await get("/v1/analytics/products/top?limit=0", "analyst")).status == 400
