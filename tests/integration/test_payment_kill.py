"""`kill -9` of the real process, and of the provider: one charge, one capture, nothing lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest_asyncio

from tests.conftest import RoomDatabase
from tests.integration.payment_fixtures import Order, eventually, new_order, provider_and_database
from tests.sandbox_process import API_KEY, WEBHOOK_SECRET, Sandbox
from tradewind.chassis.events import Envelope, encode
from tradewind.chassis.ids import new_id
from tradewind.chassis.postgres import Database
from tradewind.chassis.transport import Message
from tradewind.chassis.transport.postgres import PostgresTransport, ensure_schema
from tradewind.contracts.order import OrderCancelled, OrderPlaced
from tradewind.stack.provision import RoomAccess

MakeDatabase = Callable[[], Awaitable[str]]


class Process:
    """`tradewind run payment`, and what it works with."""

    def __init__(self, access: RoomAccess, bus_url: str, sandbox: Sandbox, database: Database, log: Path) -> None:
        self.sandbox = sandbox
        self.database = database
        self.bus = PostgresTransport(bus_url)
        self._bus_url = bus_url
        self._access = access
        self._log = log
        self._running: list[asyncio.subprocess.Process] = []

    def environment(self, instance: str) -> Mapping[str, str]:
        """All it knows."""
        return {
            "PATH": os.environ["PATH"],
            "TRADEWIND_ENV": "dev",
            "PAYMENT_INSTANCE": instance,
            "PAYMENT_DATABASE_URL": self._access.url,
            "PAYMENT_SANDBOX_URL": self.sandbox.url,
            "PAYMENT_SANDBOX_API_KEY": API_KEY,
            "PAYMENT_SANDBOX_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "BUS_URL": self._bus_url,
            "JWKS_URL": "http://127.0.0.1:9/",
        }

    async def start(self, instance: str = "payment-1", **changes: str) -> asyncio.subprocess.Process:
        """Start one; it works as soon as it can."""
        with self._log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tradewind.cli", "run", "payment"),
                env=dict(self.environment(instance)) | changes,
                stdout=log,
                stderr=log,
            )
        self._running.append(process)
        return process

    async def end(self, process: asyncio.subprocess.Process, number: int) -> int:
        """Send a signal, and wait for the end."""
        process.send_signal(number)
        async with asyncio.timeout(20):
            return await process.wait()

    async def close(self) -> None:
        """Leave nothing behind."""
        for process in self._running:
            if process.returncode is None:
                await self.end(process, signal.SIGKILL)
        await self.bus.close()

    async def place(self, *orders: Order) -> None:
        """Put orders on the bus."""
        await self.bus.publish([_message(order) for order in orders])

    async def cancel(self, order: Order) -> None:
        """Put word of its cancellation on the bus."""
        await self.bus.publish([_about(order, order.cancelled(), 2)])

    @contextlib.asynccontextmanager
    async def nothing_recorded(self, order: Order) -> AsyncIterator[None]:
        """Meanwhile the service can ask the provider, but waits with what it found out about this order."""
        # As long as it takes: the server ends a transaction that says nothing for ten seconds.
        async with self.database.transaction("BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0") as tx:
            await tx.rows("SELECT FROM payment WHERE id = $1 FOR UPDATE", order.payment_id)
            yield

    async def charge_is(self, order: Order, status: str) -> None:
        """Wait until the provider has the order's one charge in `status`."""

        async def reached() -> bool:
            return [charge["status"] for charge in await self.sandbox.charges(reference=order.id)] == [status]

        await eventually(reached, 40.0)

    async def status(self, order: Order) -> str | None:
        """As the database has it."""
        found = await self.database.value("SELECT status FROM payment WHERE id = $1", order.payment_id)
        return None if found is None else str(found)

    async def captured(self, *orders: Order) -> bool:
        """Whether all of them are."""
        sql = "SELECT count(*) FROM payment WHERE id = ANY($1::uuid[]) AND status = 'captured'"
        return bool(await self.database.value(sql, [order.payment_id for order in orders]) == len(orders))

    async def told(self, order: Order) -> list[dict[str, Any]]:
        """The payment's events on the bus, each once by its id."""
        async with contextlib.AsyncExitStack() as stack:
            bus = await Database.open(self._bus_url, max_size=1)
            stack.push_async_callback(bus.close)
            rows = await bus.rows("SELECT value FROM log WHERE topic = 'payment' AND key = $1", order.payment_id)
        events = {event["id"]: event for event in (msgspec.json.decode(row["value"]) for row in rows)}
        return list(events.values())


def _message(order: Order) -> Message:
    return _about(order, order.placed, 1)


def _about(order: Order, data: OrderPlaced | OrderCancelled, version: int) -> Message:
    envelope: Envelope[Any] = Envelope(
        id=new_id(), source="order-service", type=data.TYPE, subject=order.id, aggregateversion=version,
        time=datetime.now(UTC), data=data,
    )  # fmt: skip
    return Message(topic="order", key=order.id, id=envelope.id, type=envelope.type, value=encode(envelope))


@pytest_asyncio.fixture
async def process(room_database: RoomDatabase, empty_database: MakeDatabase, tmp_path: Path) -> AsyncIterator[Process]:
    bus_url = await empty_database()
    await ensure_schema(bus_url)
    async with provider_and_database(room_database, tmp_path) as (access, sandbox):
        database = await Database.open(access.url, max_size=2)
        running = Process(access, bus_url, sandbox, database, tmp_path / "payment.log")
        try:
            yield running
        finally:
            await running.close()
            await database.close()


async def test_killed_between_the_providers_charge_and_our_record(process: Process) -> None:
    """The provider holds its answer back for as long as it takes to kill us."""
    first = await process.start()
    order = new_order("pm_sandbox_timeout_charged")
    await process.place(order)

    async def charged() -> bool:
        return bool(await process.sandbox.charges(reference=order.id))

    await eventually(charged)
    assert await process.status(order) == "processing"
    await process.end(first, signal.SIGKILL)
    assert await process.status(order) == "processing"

    await process.start()
    await eventually(lambda: process.captured(order))
    assert len(await process.sandbox.charges(reference=order.id)) == 1
    assert await process.database.value("SELECT count(*) FROM ledger_transaction") == 1

    async def told() -> list[dict[str, Any]]:
        return await process.told(order)

    (event,) = await eventually(told)
    assert (event["type"], event["aggregateversion"]) == ("payment.captured.v1", 1)


async def test_killed_again_and_again_in_the_middle_of_work(process: Process) -> None:
    await process.sandbox.call("POST", "/v1/_control", {"latency_ms": 30})
    orders: list[Order] = []
    for _ in range(4):
        running = await process.start()
        batch = [new_order(amount_minor=1_000 + n) for n in range(25)]
        await process.place(*batch)
        orders += batch

        async def some(batch: list[Order] = batch) -> bool:
            sql = "SELECT count(*) FROM payment WHERE id = ANY($1::uuid[])"
            return bool(await process.database.value(sql, [order.payment_id for order in batch]))

        await eventually(some)
        await process.end(running, signal.SIGKILL)
    await process.start()
    await eventually(lambda: process.captured(*orders), 60.0)
    charges = await process.sandbox.charges()
    assert sorted(charge["reference"] for charge in charges) == sorted(order.id for order in orders)
    assert {charge["status"] for charge in charges} == {"succeeded"}
    sql = "SELECT sum(amount_minor)::bigint FROM ledger_transaction WHERE cause = 'capture'"
    assert await process.database.value(sql) == sum(order.total.amount_minor for order in orders)

    async def all_told() -> bool:
        return all([len(await process.told(order)) == 1 for order in orders])

    await eventually(all_told)


async def test_the_provider_is_killed_while_two_instances_charge(process: Process) -> None:
    await process.sandbox.call("POST", "/v1/_control", {"latency_ms": 50})
    await asyncio.gather(process.start("payment-1"), process.start("payment-2"))
    orders = [new_order() for _ in range(60)]
    await process.place(*orders)

    async def charging() -> bool:
        return bool(await process.sandbox.charges())

    await eventually(charging)
    await process.sandbox.kill()
    await process.sandbox.start()
    await eventually(lambda: process.captured(*orders), 60.0)
    charges = await process.sandbox.charges()
    assert sorted(charge["reference"] for charge in charges) == sorted(order.id for order in orders)


async def test_sigterm_ends_what_is_under_way(process: Process) -> None:
    await process.sandbox.call("POST", "/v1/_control", {"latency_ms": 300})
    running = await process.start()
    orders = [new_order() for _ in range(10)]
    await process.place(*orders)

    async def begun() -> bool:
        return bool(await process.database.value("SELECT count(*) FROM payment") == len(orders))

    await eventually(begun)
    assert await process.end(running, signal.SIGTERM) == 0
    assert await process.captured(*orders)


async def held(process: Process, order: Order) -> asyncio.subprocess.Process:
    """A service that has written down that the order's money is held, and gets no answer about capturing it."""
    running = await process.start(PAYMENT_CAPTURE="manual")
    await process.place(order)

    async def begun() -> bool:
        return await process.status(order) is not None

    await process.sandbox.call("POST", "/v1/_control", {"latency_ms": 300})
    await eventually(begun)
    async with process.nothing_recorded(order):
        await process.charge_is(order, "authorized")
        assert await process.status(order) == "processing"
        await process.sandbox.call("POST", "/v1/_control", {"outage_s": 60, "outage_mode": "silent"})

    async def recorded() -> bool:
        return await process.status(order) == "authorized"

    await eventually(recorded)
    return running


async def heard(process: Process, order: Order, *types: str) -> None:
    """Wait until exactly these were told of the payment."""

    async def told() -> bool:
        return [event["type"].split(".")[1] for event in await process.told(order)] == list(types)

    await eventually(told, 30.0)


async def test_killed_between_the_hold_and_our_record(process: Process) -> None:
    first = await process.start(PAYMENT_CAPTURE="manual")
    order = new_order("pm_sandbox_timeout_charged")
    await process.place(order)
    await process.charge_is(order, "authorized")
    await process.end(first, signal.SIGKILL)
    assert await process.status(order) == "processing"
    await process.start(PAYMENT_CAPTURE="manual")
    await eventually(lambda: process.captured(order))
    await heard(process, order, "authorized", "captured")
    await process.charge_is(order, "succeeded")


async def test_killed_between_our_record_of_the_hold_and_the_capture(process: Process) -> None:
    order = new_order()
    running = await held(process, order)
    await process.end(running, signal.SIGKILL)
    await process.sandbox.call("POST", "/v1/_control", {"outage_s": 0, "latency_ms": 0})
    await process.charge_is(order, "authorized")
    await process.start(PAYMENT_CAPTURE="automatic")
    await eventually(lambda: process.captured(order))
    await heard(process, order, "authorized", "captured")


async def test_cancelled_while_a_killed_service_holds_the_money(process: Process) -> None:
    order = new_order()
    running = await held(process, order)
    await process.end(running, signal.SIGKILL)
    await process.sandbox.call("POST", "/v1/_control", {"outage_s": 0, "latency_ms": 0})
    # It is cancelled by a successor that speaks to nobody; whoever comes then finds what is to be let go of.
    await process.sandbox.kill()
    running = await process.start(PAYMENT_CAPTURE="manual")
    await process.cancel(order)

    async def heard_of() -> bool:
        sql = "SELECT order_cancelled FROM payment WHERE id = $1"
        return bool(await process.database.value(sql, order.payment_id))

    await eventually(heard_of)
    await process.end(running, signal.SIGKILL)
    await process.sandbox.start()
    await process.start(PAYMENT_CAPTURE="manual")
    await process.charge_is(order, "cancelled")
    await heard(process, order, "authorized", "cancelled")
    assert await process.database.value("SELECT count(*) FROM ledger_transaction") == 0


async def test_killed_between_the_capture_and_our_record(process: Process) -> None:
    order = new_order()
    running = await held(process, order)
    async with process.nothing_recorded(order):
        await process.sandbox.call("POST", "/v1/_control", {"outage_s": 0, "latency_ms": 0})
        await process.charge_is(order, "succeeded")
        await process.end(running, signal.SIGKILL)
    assert await process.status(order) == "authorized"
    await process.start(PAYMENT_CAPTURE="manual")
    await eventually(lambda: process.captured(order))
    await heard(process, order, "authorized", "captured")
    assert await process.database.value("SELECT count(*) FROM ledger_transaction") == 1


async def test_the_sandbox_is_refused_outside_of_dev(process: Process, tmp_path: Path) -> None:
    running = await process.start(TRADEWIND_ENV="prod", PAYMENT_PROVIDER="sandbox")
    async with asyncio.timeout(20):
        assert await running.wait() == 1
    (line,) = [line for line in (tmp_path / "payment.log").read_text().splitlines() if "PAYMENT_PROVIDER" in line]
    assert "refused unless TRADEWIND_ENV=dev" in line
