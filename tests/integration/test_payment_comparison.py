"""The provider's list of charges against ours: what nobody told us of ends as it should, however late it shows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.conftest import RoomDatabase
from tests.integration.payment_fixtures import Order, Till, eventually, new_order, open_till, provider_and_database
from tradewind.chassis.errors import Unavailable
from tradewind.chassis.ids import new_id
from tradewind.services.payment.usecases import compare_charges, take_up_due


@pytest_asyncio.fixture
async def till(room_database: RoomDatabase, tmp_path: Path) -> AsyncIterator[Till]:
    """A till whose clock door the tests open themselves."""
    async with provider_and_database(room_database, tmp_path) as (access, sandbox):
        async with open_till(access, sandbox, working=False) as till:
            yield till


async def compare(till: Till) -> None:
    """Compare now, whenever that was done last."""
    await compare_charges(till.parts, every_s=0.0, pause_s=0.0)


async def attempt_of(till: Till, order: Order) -> str:
    return str(await till.database.value("SELECT id::text FROM attempt WHERE payment_id = $1", order.payment_id))


async def charge_behind_our_back(till: Till, order: Order, **more: Any) -> str:
    """The provider charges for an attempt of ours, or for none, and nobody hears of it; the charge's id."""
    attempt_id = more.pop("attempt_id", None) or await attempt_of(till, order)
    key = more.pop("key", attempt_id)
    body = {
        "amount_minor": order.total.amount_minor,
        "currency": order.total.currency,
        "payment_method": "pm_card_visa",
        "reference": order.id,
        "metadata": {"attempt_id": attempt_id},
    } | more
    answer = await till.sandbox.call("POST", "/v1/charges", body, key=key)
    assert answer.status == 201, answer.body
    return str(answer.body["id"])


async def reconciliation(till: Till) -> dict[str, Any]:
    return dict((await till.ask("GET", "/v1/payments/reconciliation", by=till.finance)).json)


async def wrongs(till: Till) -> float:
    """How often something wrong was counted."""
    (found,) = till.parts.measures._charges.collect()
    return sum(each.value for each in found.samples if each.labels == {"finding": "wrong"})


async def given_up(till: Till) -> Order:
    """A cancelled order whose charge was looked for in vain, and is not looked for any more."""
    await till.charger_off()
    order = new_order()
    await till.place(order)
    await till.cancel(order)
    await till.database.execute(
        "UPDATE attempt SET status = 'cancelled', due_at = NULL, settled_at = now() WHERE payment_id = $1",
        order.payment_id,
    )
    await till.database.execute(
        "UPDATE payment SET status = 'cancelled', updated_at = now() - interval '1 hour' WHERE id = $1",
        order.payment_id,
    )
    return order


@pytest.mark.parametrize("capture", [True, False])
async def test_a_charge_that_landed_when_nobody_looked_any_more_is_undone(till: Till, capture: bool) -> None:
    order = await given_up(till)
    await take_up_due(till.parts)
    await charge_behind_our_back(till, order, capture=capture)
    await take_up_due(till.parts)
    assert (await till.charges(order))[0]["status"] == ("succeeded" if capture else "authorized")
    await compare(till)
    await take_up_due(till.parts)  # finds it
    await take_up_due(till.parts)
    if capture:
        await till.due_now()
        await till.database.execute("UPDATE refund SET due_at = now() WHERE due_at IS NOT NULL")
        await take_up_due(till.parts)
        assert (await till.see(order))["status"] == "refunded"
    assert await till.taken_minor(order) == 0
    assert (await till.charges(order))[0]["status"] == ("succeeded" if capture else "cancelled")
    await till.check_books()


async def test_a_challenge_that_was_declined_and_nobody_told_us_of_ends(till: Till) -> None:
    order = new_order("pm_card_authenticationRequired")
    await till.place(order)
    await till.until(order, "requires_action")
    await compare(till)
    await take_up_due(till.parts)
    assert (await till.see(order))["status"] == "requires_action"
    await till.approve(order, decision="decline")
    await compare(till)
    await take_up_due(till.parts)
    assert (await till.see(order))["code"] == "authentication_failed"


async def test_what_is_as_it_should_be_and_what_is_under_way_is_left_alone(till: Till) -> None:
    paid, part, declined = await till.pay(), await till.pay(), new_order("pm_card_chargeDeclined")
    await till.refund(part, 500)
    await till.until(part, "partially_refunded")
    await till.place(declined)
    await till.until(declined, "failed")
    await till.charger_off()
    under_way = new_order()
    await till.place(under_way)
    await charge_behind_our_back(till, under_way)
    before = await till.database.rows("SELECT id, status, due_at FROM attempt ORDER BY id")
    await compare(till)
    assert await till.database.rows("SELECT id, status, due_at FROM attempt ORDER BY id") == before
    shown = await reconciliation(till)
    assert [item["kind"] for item in shown["items"] if item["kind"] == "mismatch"] == []
    assert shown["compared_charges"] == 4
    assert shown["compared_upto"] is not None
    assert await wrongs(till) == 0
    assert (await till.see(paid))["status"] == "captured"


async def second_charge(till: Till, order: Order, **more: Any) -> str:
    """The provider charges once more for an order's attempt; the charge's id."""
    attempt_id = await attempt_of(till, order)
    return await charge_behind_our_back(till, order, key=f"{attempt_id}~2", attempt_id=attempt_id, **more)


async def gone_back(till: Till, charge_id: str, *, held_minor: int) -> None:
    """Nothing is left of a charge, and the books have what was."""
    charge = (await till.sandbox.call("GET", f"/v1/charges/{charge_id}")).body
    assert charge["status"] == ("succeeded" if held_minor else "cancelled")
    assert charge["amount_captured_minor"] == charge["amount_refunded_minor"]
    booked = await till.database.rows(
        "SELECT cause, amount_minor FROM ledger_transaction WHERE cause LIKE 'mismatch%' ORDER BY id"
    )
    assert [tuple(row) for row in booked] == (
        [("mismatch", held_minor), ("mismatch_undone", held_minor)] if held_minor else []
    )
    (item,) = (await reconciliation(till))["items"]
    assert charge_id in item["theirs"]
    assert item["resolved_at"] is not None
    await till.check_books()


async def test_money_of_a_failed_payment_goes_back(till: Till) -> None:
    order = new_order("pm_nobody_knows")
    await till.place(order)
    await till.until(order, "failed")
    charge_id = await charge_behind_our_back(till, order)
    for _ in range(2):
        await compare(till)
    await gone_back(till, charge_id, held_minor=1999)
    assert await wrongs(till) == 1


@pytest.mark.parametrize("capture", [True, False])
async def test_of_two_charges_for_one_order_the_second_goes_back(till: Till, capture: bool) -> None:
    order = await till.pay()
    charge_id = await second_charge(till, order, capture=capture)
    for _ in range(2):
        await compare(till)
    await gone_back(till, charge_id, held_minor=1999 if capture else 0)
    assert await till.taken_minor(order) == 1999
    assert (await till.see(order))["status"] == "captured"


async def test_what_goes_back_is_tried_again_until_it_has(till: Till) -> None:
    """The provider is away, then fails the refund after a while, then lets it wait; and hours have passed."""
    order = await till.pay()
    charge_id = await second_charge(till, order)
    await till.weather(script={"rules": [{"on": "refund", "next": 1, "do": "silent", "done": False}]})
    with pytest.raises(Unavailable):
        await compare(till)
    fails = {"on": "refund", "next": 1, "do": "pending", "wait_ms": 50, "then": "failed"}
    await till.weather(script={"rules": [fails, {"on": "refund", "next": 1, "do": "pending", "wait_ms": 50}]})
    for _ in range(3):
        await compare(till)
        await refunds_ended(till, charge_id)
    await compare(till)
    await gone_back(till, charge_id, held_minor=1999)


async def test_one_that_gets_no_answer_keeps_no_other_from_going_back(till: Till) -> None:
    orders = [await till.pay() for _ in range(3)]
    for order in orders:
        await second_charge(till, order)
    await till.weather(script={"rules": [{"on": "refund", "next": 1, "do": "silent", "done": False}]})
    with pytest.raises(Unavailable):
        await compare(till)
    assert sorted([await till.taken_minor(order) for order in orders]) == [1999, 1999, 3998]
    await compare(till)
    assert [await till.taken_minor(order) for order in orders] == [1999] * 3
    await till.check_books()


async def refunds_ended(till: Till, charge_id: str) -> None:
    async def ended() -> bool:
        found = (await till.sandbox.call("GET", f"/v1/refunds?charge_id={charge_id}")).body["items"]
        return all(refund["status"] != "pending" for refund in found)

    await eventually(ended)


async def test_what_is_in_suspense_is_in_the_next_list(till: Till) -> None:
    order = await till.pay()
    charge_id = await second_charge(till, order)
    await till.weather(script={"rules": [{"on": "refund", "next": 1, "do": "pending", "wait_ms": 50}]})
    await compare(till)
    await refunds_ended(till, charge_id)
    # Two hours later: only for what is in suspense does the list reach back so far.
    await till.database.execute("UPDATE comparison SET compared_upto = now() + interval '2 h'")
    await compare_charges(till.parts, every_s=-86_400.0, pause_s=0.0)
    await gone_back(till, charge_id, held_minor=1999)


async def test_what_somebody_gave_back_at_the_provider_is_shown(till: Till) -> None:
    order = await till.pay()
    (charge,) = await till.charges(order)
    body = {"charge_id": charge["id"], "amount_minor": 99, "reference": "by hand"}
    assert (await till.sandbox.call("POST", "/v1/refunds", body, key=new_id())).status == 201
    await compare(till)
    (item,) = (await reconciliation(till))["items"]
    assert (item["ours"], item["theirs"]) == ("1999 EUR, 0 of it back", "1999 EUR, 99 of it back (succeeded)")


@pytest.mark.parametrize("attempt_id", ["none-of-ours", new_id()], ids=["no-id", "an-id-of-nobody"])
async def test_a_charge_that_we_never_asked_for_is_counted(till: Till, attempt_id: str) -> None:
    await charge_behind_our_back(till, new_order(), attempt_id=attempt_id)
    await compare(till)
    assert await wrongs(till) == 1


async def test_it_goes_through_all_pages(till: Till) -> None:
    for _ in range(3):
        await till.pay()
    strays = [new_order() for _ in range(120)]
    for order in strays:
        await charge_behind_our_back(till, order, attempt_id=new_id())
    await compare(till)
    assert (await reconciliation(till))["compared_charges"] == 123
    assert await wrongs(till) == 120


async def test_one_instance_compares_and_not_before_it_is_time(till: Till) -> None:
    await charge_behind_our_back(till, new_order(), attempt_id=new_id())
    async with open_till(till.access, till.sandbox, working=False, instance="payment-2") as other:
        for each in (till, other, till):
            await compare_charges(each.parts)
        assert await wrongs(till) + await wrongs(other) == 1
    await till.database.execute(
        "UPDATE comparison SET begun_at = begun_at - interval '2 h', compared_upto = compared_upto - interval '2 h'"
    )
    await compare_charges(till.parts)
    assert await wrongs(till) == 2


async def test_one_that_did_not_come_to_its_end_is_made_again(till: Till) -> None:
    await charge_behind_our_back(till, new_order(), attempt_id=new_id())
    await till.weather(outage_s=60.0)
    with pytest.raises(Unavailable):
        await compare_charges(till.parts)
    assert (await reconciliation(till))["compared_upto"] is None
    await till.weather(outage_s=0)
    await compare_charges(till.parts)  # too soon
    assert await wrongs(till) == 0
    await till.database.execute("UPDATE comparison SET begun_at = begun_at - interval '6 minutes'")
    await compare_charges(till.parts)
    assert await wrongs(till) == 1
    assert (await reconciliation(till))["compared_upto"] is not None
