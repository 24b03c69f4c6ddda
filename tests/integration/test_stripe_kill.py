"""`kill -9` of the real process on Stripe: one PaymentIntent an order, one capture, nothing lost."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests import stripe_stand_in
from tests.conftest import RoomDatabase
from tests.integration.payment_fixtures import MODES, Order, eventually, new_order
from tests.integration.test_payment_kill import Process
from tests.stripe_stand_in.server import Fault, StripeStandIn, open_stand_in
from tradewind.chassis.postgres import Database
from tradewind.chassis.transport.postgres import ensure_schema

MakeDatabase = Callable[[], Awaitable[str]]


class StripeProcess(Process):
    """`tradewind run payment` on the stand-in for Stripe."""

    stand_in: StripeStandIn
    capture: str

    def environment(self, instance: str) -> Mapping[str, str]:
        without = {name: value for name, value in super().environment(instance).items() if "SANDBOX" not in name}
        return without | {
            "PAYMENT_PROVIDER": "stripe",
            "PAYMENT_CAPTURE": self.capture,
            "PAYMENT_STRIPE_URL": self.stand_in.url,
            "PAYMENT_STRIPE_API_KEY": stripe_stand_in.API_KEY,
            "PAYMENT_STRIPE_WEBHOOK_SECRET": stripe_stand_in.WEBHOOK_SECRET,
            "PAYMENT_STRIPE_RETURN_URL": "https://shop.example.test/back",
        }

    def taken(self) -> list[tuple[str, int]]:
        """(order, amount) of each charge that took money."""
        return [
            (charge["metadata"]["order_id"], charge["amount_captured"])
            for charge in self.stand_in.books.charges.values()
            if charge["amount_captured"]
        ]


class _NoSandbox:
    url = ""


@pytest_asyncio.fixture
async def process(
    request: pytest.FixtureRequest, room_database: RoomDatabase, empty_database: MakeDatabase, tmp_path: Path
) -> AsyncIterator[StripeProcess]:
    access, bus_url = await room_database("payment"), await empty_database()
    await ensure_schema(bus_url)
    async with open_stand_in() as stand_in:
        database = await Database.open(access.url, max_size=2)
        sandbox: Any = _NoSandbox()
        running = StripeProcess(access, bus_url, sandbox, database, tmp_path / "payment.log")
        running.stand_in, running.capture = stand_in, getattr(request, "param", "automatic")
        try:
            yield running
        finally:
            await running.close()
            await database.close()


async def until_paid(process: StripeProcess, orders: list[Order]) -> None:
    """Wait, then see that each was paid once, by Stripe's books and by ours."""
    await eventually(lambda: process.captured(*orders), 60.0)
    assert sorted(process.taken()) == sorted((order.id, order.total.amount_minor) for order in orders)
    sql = "SELECT sum(amount_minor)::bigint FROM ledger_transaction WHERE cause = 'capture'"
    assert await process.database.value(sql) == sum(order.total.amount_minor for order in orders)


@pytest.mark.parametrize("process", MODES, indirect=True)
async def test_killed_between_stripes_charge_and_our_record(process: StripeProcess) -> None:
    process.stand_in.faults.append(Fault.DONE_AND_HELD)
    first = await process.start()
    order = new_order()
    await process.place(order)

    async def charged() -> bool:
        return bool(process.stand_in.books.charges)

    await eventually(charged)
    assert await process.status(order) == "processing"
    await process.end(first, signal.SIGKILL)
    process.stand_in.release()
    await process.start()
    await until_paid(process, [order])
    assert len(process.stand_in.books.intents) == 1


@pytest.mark.parametrize("process", MODES, indirect=True)
async def test_killed_again_and_again_in_the_middle_of_work(process: StripeProcess) -> None:
    orders: list[Order] = []
    for _ in range(3):
        # Some answers are lost on their way, some requests, some stay under way until we are gone.
        process.stand_in.faults.extend(
            [None, Fault.DONE_AND_CUT, Fault.LOST, Fault.HELD, None, Fault.DONE_AND_HELD] * 2
        )
        running = await process.start()
        batch = [new_order(amount_minor=1_000 + n) for n in range(15)]
        await process.place(*batch)
        orders += batch

        async def some(batch: list[Order] = batch) -> bool:
            sql = "SELECT count(*) FROM payment WHERE id = ANY($1::uuid[])"
            return bool(await process.database.value(sql, [order.payment_id for order in batch]))

        await eventually(some)
        await process.end(running, signal.SIGKILL)
        process.stand_in.release()
    process.stand_in.faults.clear()
    await process.start()
    await until_paid(process, orders)
    assert len(process.stand_in.books.intents) == len(orders)
