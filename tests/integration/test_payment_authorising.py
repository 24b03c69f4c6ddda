"""Money that is held first: captured by itself, or let go of; and whatever the provider says of it meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, NoReturn, cast

import pytest_asyncio
from msgspec.structs import replace

from tests.conftest import RoomDatabase
from tests.integration.payment_fixtures import Till, eventually, new_order, open_till, provider_and_database
from tradewind.chassis.third_party import OutcomeUnknown
from tradewind.services.payment.domain.charge import Charge, Repayment
from tradewind.services.payment.domain.work import ChargeWork, RefundWork
from tradewind.services.payment.providers import Provider

RACERS = 40
Open = Callable[..., AbstractAsyncContextManager[Till]]


@pytest_asyncio.fixture
async def opening(room_database: RoomDatabase, tmp_path: Path) -> AsyncIterator[Open]:
    """Opens tills that hold money first, before a provider that `wrap` may change."""
    async with provider_and_database(room_database, tmp_path) as (access, sandbox):

        def opened(wrap: type | None = None, **more: Any) -> AbstractAsyncContextManager[Till]:
            wrapped = cast("Callable[[Provider], Provider]", wrap or (lambda provider: provider))
            return open_till(access, sandbox, wrap=wrapped, **({"capture": "manual"} | more))

        yield opened


class Real:
    """The real provider, for others to change a call of."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider

    def __getattr__(self, name: str) -> object:
        return getattr(self.provider, name)


class Gated(Real):
    """Captures arrive at the provider when the test lets them."""

    gate: asyncio.Event

    async def capture(self, charge: Charge, attempt_id: str) -> Charge:
        await self.gate.wait()
        return await self.provider.capture(charge, attempt_id)


def gated() -> type[Gated]:
    """A gate of a test's own."""

    class Here(Gated):
        gate = asyncio.Event()

    return Here


async def test_what_is_held_is_shown_told_and_then_captured(opening: Open) -> None:
    wrap = gated()
    async with opening(wrap) as till:
        order = new_order()
        await till.place(order)
        seen = await till.until(order, "authorized")
        assert seen["captured"]["amount_minor"] == 0
        assert [charge["status"] for charge in await till.charges(order)] == ["authorized"]
        assert await till.told(order) == ["authorized"]
        assert await till.booked(order) == []
        assert (await till.refund(order)).json["code"] == "refund-exceeds-captured"
        wrap.gate.set()
        await till.until(order, "captured")
        assert await till.told(order) == ["authorized", "captured"]
        assert await till.booked(order) == [("capture", 1999)]
        await till.check_books()


async def test_cancelled_while_it_is_held_is_a_void(opening: Open) -> None:
    wrap = gated()
    async with opening(wrap) as till:
        order = new_order()
        await till.place(order)
        await till.until(order, "authorized")
        await till.cancel(order)
        await till.until(order, "cancelled")
        assert [charge["status"] for charge in await till.charges(order)] == ["cancelled"]
        # The capture that was under way comes too late, and changes nothing.
        wrap.gate.set()

        async def idle() -> bool:
            return till.parts.charger.under_way == 0

        await eventually(idle)
        assert await till.told(order) == ["authorized", "cancelled"]
        assert await till.booked(order) == []
        assert (await till.see(order))["status"] == "cancelled"
        await till.check_books()


class Mute(Real):
    """Captures, and its first answer about that is lost."""

    lost: int

    async def capture(self, charge: Charge, attempt_id: str) -> Charge:
        taken = await self.provider.capture(charge, attempt_id)
        if type(self).lost:
            return taken
        type(self).lost += 1
        raise OutcomeUnknown("provider-outcome-unknown", "Nobody heard it.")


def mute() -> type[Mute]:
    """One that has not lost an answer yet."""

    class Here(Mute):
        lost = 0

    return Here


async def test_a_capture_nobody_heard_of_is_asked_for(opening: Open) -> None:
    async with opening(mute()) as till:
        order = new_order()
        await till.place(order)
        await till.until(order, "captured")
        assert await till.told(order) == ["authorized", "captured"]
        assert await till.booked(order) == [("capture", 1999)]
        await till.check_books()


async def test_a_capture_nobody_heard_of_for_a_cancelled_order_goes_back(opening: Open) -> None:
    wrap = mute()
    async with opening(wrap) as till:
        order = new_order()
        await till.place(order)

        async def taken() -> bool:
            return bool(wrap.lost)

        await eventually(taken)
        await till.cancel(order)
        await till.until(order, "refunded")
        assert await till.told(order) == ["authorized", "captured", "refunded"]
        assert await till.taken_minor(order) == 0
        await till.check_books()


class Expiring(Real):
    """Lets go of what it holds before it is asked to capture it, as a provider does after a week."""

    async def capture(self, charge: Charge, attempt_id: str) -> Charge:
        await self.provider.void(charge.id)
        return await self.provider.capture(charge, attempt_id)


async def test_a_hold_that_expired_ends_as_a_failure(opening: Open) -> None:
    async with opening(Expiring) as till:
        order = new_order()
        await till.place(order)
        assert (await till.until(order, "failed"))["code"] == "authorization_expired"
        assert await till.told(order) == ["authorized", "failed"]
        assert await till.booked(order) == []
        await till.check_books()


class Forgetful(Real):
    """Does not know of what it holds any more."""

    async def capture(self, charge: Charge, attempt_id: str) -> Charge:
        raise OutcomeUnknown("provider-outcome-unknown", "Silence.")

    async def find_charge(self, work: ChargeWork) -> Charge | None:
        return None


async def test_a_hold_that_is_lost_ends_as_a_failure_and_is_not_asked_for_again(opening: Open) -> None:
    async with opening(Forgetful) as till:
        order = new_order()
        await till.place(order)
        assert (await till.until(order, "failed"))["code"] == "authorization_lost"
        assert await till.told(order) == ["authorized", "failed"]
        assert len(await till.charges(order)) == 1


class Short(Real):
    """Captures less than is asked for."""

    async def capture(self, charge: Charge, attempt_id: str) -> Charge:
        return await self.provider.capture(replace(charge, authorized_minor=charge.authorized_minor - 1), attempt_id)


async def test_a_capture_of_another_amount_is_flagged_and_undone(opening: Open) -> None:
    async with opening(Short) as till:
        order = new_order()
        await till.place(order)
        assert (await till.until(order, "failed"))["code"] == "provider_mismatch"
        assert await till.told(order) == ["authorized", "failed"]
        assert await till.booked(order) == [("mismatch", 1998), ("mismatch_undone", 1998)]
        assert await till.taken_minor(order) == 0
        answer = await till.ask("GET", "/v1/payments/reconciliation", by=till.finance)
        (item,) = answer.json["items"]
        assert (item["kind"], item["theirs"]) == ("mismatch", f"1998 EUR for {order.id}")
        await till.check_books()


async def test_cancelled_at_any_moment_between_hold_and_capture(opening: Open) -> None:
    """Whichever of capture and void the provider lets through: what is kept is kept for an order that stands."""
    draw = random.Random(20)
    async with opening() as till:
        orders = [new_order(amount_minor=1_000 + n) for n in range(RACERS)]
        gone = orders[: RACERS // 2]
        await till.weather(latency_ms=20)

        async def cancel(order_number: int) -> None:
            await till.until(orders[order_number], "authorized", "captured")
            await asyncio.sleep(draw.random() / 20)
            await till.cancel(orders[order_number])

        await till.place(*orders)
        await asyncio.gather(*(cancel(n) for n in range(len(gone))))
        for order in orders:
            if order not in gone:
                await till.until(order, "captured")
                assert await till.told(order) == ["authorized", "captured"]
                assert await till.taken_minor(order) == order.total.amount_minor
                continue
            await till.until(order, "cancelled", "refunded")
            assert await till.told(order) in (["authorized", "cancelled"], ["authorized", "captured", "refunded"])
            assert await till.taken_minor(order) == 0
            assert {charge["status"] for charge in await till.charges(order)} <= {"cancelled", "succeeded"}
        await till.check_books()


async def test_how_an_attempt_takes_its_money_stays_when_the_setting_changes(opening: Open) -> None:
    """The provider would take the same key with another body for somebody else's."""
    async with opening(working=False) as before:
        await before.charger_off()
        order = new_order()
        await before.place(order)
        async with opening(capture="automatic") as after:
            await after.until(order, "captured")
            assert await after.told(order) == ["authorized", "captured"]


class Elsewhere(Real):
    """Another provider, which remembers whose payments it was asked about and answers nothing."""

    name = "elsewhere"
    asked: set[str]

    async def charge(self, work: ChargeWork) -> Charge:
        await self._silence(work.payment.id)

    async def find_charge(self, work: ChargeWork) -> Charge | None:
        await self._silence(work.payment.id)

    async def refund(self, work: RefundWork) -> Repayment:
        await self._silence(work.refund.payment_id)

    async def find_refund(self, work: RefundWork) -> Repayment | None:
        await self._silence(work.refund.payment_id)

    async def _silence(self, payment_id: str) -> NoReturn:
        self.asked.add(payment_id)
        raise OutcomeUnknown("provider-outcome-unknown", "Silence.")


async def test_what_was_begun_at_one_provider_is_never_asked_of_another(opening: Open) -> None:
    class Here(Elsewhere):
        asked = set[str]()

    async with opening() as paid_here:
        paid = await paid_here.pay()
    async with opening(working=False) as here:
        await here.charger_off()
        left = new_order("pm_sandbox_timeout_charged")
        await here.place(left)
        await here.due_now()
    async with opening(Here) as there:
        assert (await there.refund(paid)).status == 201
        await there.cancel(left)
        await there.due_now()
        await there.database.execute("UPDATE refund SET due_at = now()")
        waiting = new_order()
        await there.place(waiting)

        async def looked() -> bool:
            sql = "SELECT looks > 0 FROM attempt WHERE payment_id = $1"
            return bool(await there.database.value(sql, waiting.payment_id))

        await eventually(looked)
        assert Here.asked == {waiting.payment_id}
    async with opening() as again:
        await again.until(left, "cancelled")
        await again.until(paid, "refunded")
        assert await again.taken_minor(paid) == 0
