"""What nobody knows is found out, and what the provider got wrong is seen, undone and shown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace

from tests.conftest import RoomDatabase
from tests.integration.payment_fixtures import (
    CONCURRENCY,
    eventually,
    new_order,
    open_till,
    provider_and_database,
)
from tests.sandbox_process import Sandbox
from tradewind.contracts.money import Money
from tradewind.services.payment.domain.charge import Captured, Charge, Unknown
from tradewind.services.payment.domain.work import ChargeOutcome, ChargeWork
from tradewind.services.payment.providers import Provider
from tradewind.services.payment.store.queue import claim_charges
from tradewind.services.payment.usecases import record_charges, take_over, take_up_due
from tradewind.stack.provision import RoomAccess

Ground = tuple[RoomAccess, Sandbox]


@pytest_asyncio.fixture
async def ground(room_database: RoomDatabase, tmp_path: Path) -> AsyncIterator[Ground]:
    async with provider_and_database(room_database, tmp_path) as ground:
        yield ground


@pytest.mark.parametrize("mode", ["unavailable", "silent"])
async def test_an_outage_loses_and_doubles_nothing(ground: Ground, mode: str) -> None:
    async with open_till(*ground) as till:
        await till.weather(outage_s=6.0, outage_mode=mode)
        orders = [new_order() for _ in range(60)]
        await till.place(*orders[:30])
        await asyncio.gather(*(till.place(order) for order in orders[30:]))
        assert {(await till.see(order))["status"] for order in orders} == {"processing"}
        for order in orders:
            await till.until(order, "captured", timeout_s=66.0)
            assert len(await till.charges(order)) == 1
            assert await till.told(order) == ["captured"]
        await till.check_books()


@pytest.mark.parametrize("knowing_first", [True, False])
async def test_of_two_answers_that_are_written_down_together_the_one_that_knows_counts(
    ground: Ground, knowing_first: bool
) -> None:
    async with open_till(*ground, working=False) as till:
        await till.charger_off()
        order = new_order()
        await till.place(order)
        await till.due_now()
        (work,) = await claim_charges(till.database, provider="sandbox", limit=9, holder="payment-1", lease_s=60.0)
        charge = await till.parts.provider.charge(work)
        answers = [
            ChargeOutcome(work=work, finding=finding, elapsed_s=0.1)
            for finding in (Captured(charge), Unknown("no answer"))
        ]
        await record_charges(till.parts, answers if knowing_first else answers[::-1])
        assert (await till.see(order))["status"] == "captured"


async def test_what_a_killed_instance_had_is_due_when_it_starts_again_and_nobody_elses(ground: Ground) -> None:
    async with open_till(*ground, working=False) as till:
        await till.charger_off()
        orders = {holder: new_order() for holder in ("payment-1", "payment-2")}
        for holder, order in orders.items():
            await till.place(order)
            await till.database.execute("UPDATE attempt SET due_at = now() WHERE payment_id = $1", order.payment_id)
            await claim_charges(till.database, provider="sandbox", limit=9, holder=holder, lease_s=60.0)
        await take_over(till.parts)
        await till.database.execute("UPDATE attempt SET created_at = created_at - interval '1 minute'")
        await take_up_due(till.parts)
        statuses = {holder: (await till.see(order))["status"] for holder, order in orders.items()}
        assert statuses == {"payment-1": "captured", "payment-2": "processing"}


async def test_an_open_question_is_shown_until_it_is_answered(ground: Ground) -> None:
    async with open_till(*ground) as till:
        await till.weather(outage_s=60.0)
        order = new_order()
        await till.place(order)

        async def asked() -> dict[str, Any] | None:
            answer = await till.ask("GET", "/v1/payments/reconciliation", by=till.finance)
            assert answer.status == 200
            return dict(answer.json) if answer.json["items"] else None

        shown = await eventually(asked)
        assert [item["kind"] for item in shown["items"]] == ["unknown_charge"]
        assert shown["items"][0]["payment_id"] == order.payment_id
        assert shown["items"][0]["order_id"] == order.id
        await till.weather(outage_s=0)
        await till.until(order, "captured", timeout_s=60.0)
        answer = await till.ask("GET", "/v1/payments/reconciliation", by=till.finance)
        assert answer.json["items"] == []
        assert answer.json["standings"] == [{"currency": "EUR", "ours_minor": 1999, "theirs_minor": 1999}]
        await till.weather(outage_s=5.0)
        answer = await till.ask("GET", "/v1/payments/reconciliation", by=till.finance)
        assert answer.json["standings"] == [{"currency": "EUR", "ours_minor": 1999, "theirs_minor": None}]


class Counting:
    """The real provider, counting what it is asked for each attempt, and how much at once."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self.questions: dict[str, int] = {}
        self.now = self.most = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._provider, name)

    async def find_charge(self, work: ChargeWork) -> Charge | None:
        self.questions[work.attempt.id] = self.questions.get(work.attempt.id, 0) + 1
        return await self._provider.find_charge(work)

    async def charge(self, work: ChargeWork) -> Charge:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            return await self._provider.charge(work)
        finally:
            self.now -= 1


async def test_two_instances_never_take_up_the_same(ground: Ground) -> None:
    counts: list[Counting] = []

    def counted(provider: Provider) -> Provider:
        counts.append(Counting(provider))
        return counts[-1]  # type: ignore[return-value]

    access, sandbox = ground
    async with (
        open_till(access, sandbox, working=False, wrap=counted) as one,
        open_till(access, sandbox, working=False, wrap=counted, instance="payment-2") as two,
    ):
        orders = [new_order() for _ in range(40)]
        await one.charger_off()
        await one.place(*orders)
        await one.due_now()
        await asyncio.gather(*(take_up_due(till.parts) for till in (one, two, one, two)))
        assert sum(sum(count.questions.values()) for count in counts) == len(orders)
        assert all(count.questions for count in counts)
        assert {(await one.see(order))["status"] for order in orders} == {"processing"}


async def test_a_successor_takes_over_what_is_its_own_at_once(ground: Ground) -> None:
    sql = "SELECT count(*) FROM attempt WHERE due_at <= now()"
    async with open_till(*ground, working=False) as predecessor:
        await predecessor.charger_off()
        await predecessor.place(new_order())
        async with open_till(*ground, working=False, instance="payment-2"):
            assert await predecessor.database.value(sql) == 0
        async with open_till(*ground, working=False):
            assert await predecessor.database.value(sql) == 1


async def test_calls_to_the_provider_are_bounded(ground: Ground) -> None:
    counts: list[Counting] = []

    def counted(provider: Provider) -> Provider:
        counts.append(Counting(provider))
        return counts[-1]  # type: ignore[return-value]

    async with open_till(*ground, wrap=counted) as till:
        await till.weather(latency_ms=50)
        orders = [new_order() for _ in range(4 * CONCURRENCY)]
        await till.place(*orders)
        for order in orders:
            await till.until(order, "captured")
        assert counts[0].most == CONCURRENCY


class Wrong:
    """The real provider, which charges something else than it is asked for."""

    def __init__(self, provider: Provider, amount: Money, order_id: str | None = None) -> None:
        self._provider = provider
        self._amount = amount
        self._order_id = order_id

    def __getattr__(self, name: str) -> object:
        return getattr(self._provider, name)

    async def charge(self, work: ChargeWork) -> Charge:
        payment = replace(work.payment, amount=self._amount, order_id=self._order_id or work.payment.order_id)
        return await self._provider.charge(replace(work, payment=payment))


METHODS = ("pm_card_visa", "pm_card_authenticationRequired", "pm_sandbox_timeout_charged")


@pytest.mark.parametrize("amount", [Money(1998, "EUR"), Money(1999, "USD"), Money(19990, "EUR")])
async def test_a_charge_of_something_else_is_flagged_and_undone(ground: Ground, amount: Money) -> None:
    async with open_till(*ground, wrap=lambda provider: Wrong(provider, amount)) as till:  # type: ignore[arg-type,return-value]
        orders = [new_order(method) for method in METHODS]
        await till.place(*orders)
        for order in orders:
            assert (await till.until(order, "failed"))["code"] == "provider_mismatch"
            assert await till.taken_minor(order) == 0
            assert await till.told(order) == ["failed"]
            if order.payment_method != "pm_card_authenticationRequired":
                booked = [("mismatch", amount.amount_minor), ("mismatch_undone", amount.amount_minor)]
                assert await till.booked(order) == booked
        answer = await till.ask("GET", "/v1/payments/reconciliation", by=till.finance)
        found = {item["payment_id"]: item for item in answer.json["items"]}
        assert len(found) == len(orders)
        for order in orders:
            item = found[order.payment_id]
            assert (item["kind"], item["ours"]) == ("mismatch", f"1999 EUR for {order.id}")
            assert item["theirs"] == f"{amount.amount_minor} {amount.currency} for {order.id}"
            assert item["resolved_at"] is not None
        await till.check_books()


async def test_a_charge_for_another_order_is_not_ours(ground: Ground) -> None:
    other = new_order()
    async with open_till(*ground, wrap=lambda provider: Wrong(provider, other.total, other.id)) as till:  # type: ignore[arg-type,return-value]
        order = new_order()
        await till.place(order)
        assert (await till.until(order, "failed"))["code"] == "provider_mismatch"
        assert await till.taken_minor(other) == 0
        await till.check_books()
