"""A provider that does everything wrong, on purpose and once each: what becomes of the payment, the money and the books.

The rules are the sandbox's own (docs/reference/sandbox.md); its webhooks arrive through the real door.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import uvicorn

from tests.conftest import RoomDatabase
from tests.integration.payment_fixtures import Order, Till, eventually, new_order, open_till
from tests.sandbox_process import Sandbox

WEBHOOKS = "/v1/payments/webhooks/sandbox"
MANUAL = {"capture": "manual"}


@asynccontextmanager
async def counter(room_database: RoomDatabase, folder: Path, **settings: Any) -> AsyncIterator[Till]:
    """A till whose provider's webhooks come in."""
    access = await room_database("payment")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}{WEBHOOKS}"
        sandbox = Sandbox(folder / "psp", WEBHOOK_URL=url, WEBHOOK_DOUBLE_PERCENT="0")
        try:
            await sandbox.start()
            async with open_till(access, sandbox, **settings) as till, _served(till, listener):
                yield till
        finally:
            await sandbox.close()


@asynccontextmanager
async def _served(till: Till, listener: socket.socket) -> AsyncIterator[None]:
    config = uvicorn.Config(till.app, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving


@pytest_asyncio.fixture
async def till(room_database: RoomDatabase, tmp_path: Path) -> AsyncIterator[Till]:
    async with counter(room_database, tmp_path) as till:
        yield till


async def play(till: Till, *rules: dict[str, Any]) -> None:
    await till.weather(script={"rules": rules})


async def hits(till: Till) -> list[int]:
    """How often each rule hit: one that met nothing proves nothing."""
    return [rule["hit"] for rule in (await till.sandbox.call("GET", "/v1/_control")).body["script"]]


async def captured_once(till: Till, order: Order) -> None:
    await till.until(order, "captured", timeout_s=30.0)
    (charge,) = await till.charges(order)
    assert (charge["status"], charge["amount_captured_minor"], charge["currency"]) == ("succeeded", 1999, "EUR")
    assert await till.told(order) == till.story("captured")
    assert await till.booked(order) == [("capture", 1999)]


async def nothing_is_flagged(till: Till) -> None:
    """The books agree with the provider's, and nobody was called to look at anything."""
    await till.check_books()
    assert (await till.ask("GET", "/v1/payments/reconciliation", by=till.finance)).json["items"] == []


UNKNOWN: dict[str, dict[str, Any]] = {
    "late": {"do": "late", "wait_ms": 3_500},
    "slow": {"do": "slow", "wait_ms": 3_500},
    "silent-done": {"do": "silent"},
    "silent-not-done": {"do": "silent", "done": False},
    "500-done": {"do": "error", "done": True},
    "503-not-done": {"do": "error", "status": 503},
    "429-done": {"do": "error", "status": 429, "done": True},
    "429-not-done": {"do": "error", "status": 429},
    "reset-done": {"do": "reset"},
    "reset-not-done": {"do": "reset", "done": False},
    "cut": {"do": "cut"},
    "garbage": {"do": "garbage"},
    "unknown-status": {"do": "unknown_status"},
    "wrong-amount-in-the-answer": {"do": "wrong_amount", "where": "answer"},
    "wrong-currency-in-the-answer": {"do": "wrong_currency", "where": "answer"},
    "wrong-reference-in-the-answer": {"do": "wrong_reference", "where": "answer"},
}


async def test_whatever_an_answer_looks_like_the_money_is_taken_once(till: Till) -> None:
    orders = {name: new_order() for name in UNKNOWN}
    await play(
        till, *({"on": "charge", "next": 1, "reference": orders[name].id, **rule} for name, rule in UNKNOWN.items())
    )
    await till.place(*orders.values())
    for name, order in orders.items():
        try:
            await captured_once(till, order)
        except (AssertionError, TimeoutError) as exc:
            raise AssertionError(name) from exc
    assert await hits(till) == [1] * len(UNKNOWN)
    await nothing_is_flagged(till)


async def test_so_it_is_with_the_capture_of_what_is_held(room_database: RoomDatabase, tmp_path: Path) -> None:
    rules = {name: rule for name, rule in UNKNOWN.items() if "reference" not in name and name != "slow"}
    async with counter(room_database, tmp_path, **MANUAL) as till:
        orders = {name: new_order() for name in rules}
        await play(
            till, *({"on": "capture", "next": 1, "reference": orders[name].id, **rule} for name, rule in rules.items())
        )
        await till.place(*orders.values())
        for name, order in orders.items():
            try:
                await captured_once(till, order)
            except (AssertionError, TimeoutError) as exc:
                raise AssertionError(name) from exc
        assert await hits(till) == [1] * len(rules)
        await nothing_is_flagged(till)


@pytest.mark.parametrize(
    "rule",
    [
        {"do": "wrong_amount", "by_minor": 1},
        {"do": "wrong_amount", "by_minor": -1},
        {"do": "wrong_currency", "currency": "USD"},
        {"do": "wrong_reference"},
    ],
    ids=lambda rule: f"{rule['do']}{rule.get('by_minor', '')}",
)
async def test_a_charge_that_really_is_wrong_goes_back_whole(till: Till, rule: dict[str, Any]) -> None:
    order = new_order()
    await play(till, {"on": "charge", "next": 1, **rule})
    await till.place(order)
    assert (await till.until(order, "failed"))["code"] == "provider_mismatch"
    charges = await till.sandbox.charges()
    assert [charge["amount_captured_minor"] - charge["amount_refunded_minor"] for charge in charges] == [0]
    assert await till.told(order) == ["failed"]
    assert [cause for cause, _ in await till.booked(order)] == ["mismatch", "mismatch_undone"]
    answer = await till.ask("GET", "/v1/payments/reconciliation", by=till.finance)
    (item,) = answer.json["items"]
    assert item["resolved_at"] is not None
    await till.check_books()


async def test_what_is_undone_is_asked_for_anew_when_the_provider_failed_it(till: Till) -> None:
    order = new_order()
    fails = {"on": "refund", "next": 2, "do": "pending", "wait_ms": 100, "then": "failed"}
    await play(till, {"on": "charge", "next": 1, "do": "wrong_amount", "by_minor": 5}, fails)
    await till.place(order)
    assert (await till.until(order, "failed", timeout_s=30.0))["code"] == "provider_mismatch"
    assert await till.taken_minor(order) == 0
    assert await hits(till) == [1, 2]
    await till.check_books()


async def test_a_second_charge_of_one_call_is_captured_once_and_shows_in_the_reconciliation(till: Till) -> None:
    order = new_order()
    await play(till, {"on": "charge", "next": 1, "do": "double"})
    await till.place(order)
    await till.until(order, "captured")
    assert await till.told(order) == ["captured"]
    assert await till.booked(order) == [("capture", 1999)]
    assert len(await till.charges(order)) == 2
    answer = await till.ask("GET", "/v1/payments/reconciliation", by=till.finance)
    (standing,) = answer.json["standings"]
    assert standing["theirs_minor"] - standing["ours_minor"] == 1999


async def test_a_webhook_before_the_answer_is_one_capture(till: Till) -> None:
    await play(till, {"on": "webhook", "every": 1, "do": "before_answer"})
    orders = [new_order() for _ in range(10)]
    await asyncio.gather(*(till.place(order) for order in orders))
    for order in orders:
        await captured_once(till, order)
    assert await till.database.value("SELECT count(*) FROM webhook_event") == 10
    await nothing_is_flagged(till)


async def test_a_webhook_comes_before_an_answer_that_never_does(till: Till) -> None:
    order = new_order()
    await play(till, {"on": "webhook", "next": 1, "do": "before_answer"}, {"on": "charge", "next": 1, "do": "silent"})
    await till.place(order)
    await captured_once(till, order)
    assert await hits(till) == [1, 1]


@pytest.mark.parametrize("do", ["never", "double", "overtaken", "late", "old_signature", "unknown_charge"])
async def test_webhooks_may_do_as_they_like(till: Till, do: str) -> None:
    await play(till, {"on": "webhook", "every": 1, "do": do})
    asked = new_order("pm_card_authenticationRequired")
    await till.place(asked)
    await till.approve(asked)
    seen = await till.see(asked)
    customer = till.introduce(subject=asked.customer_id)
    await till.ask("POST", f"/v1/payments/{seen['id']}/confirm", by=customer, key="k-" + asked.id)
    await till.until(asked, "captured", timeout_s=30.0)
    assert await till.taken_minor(asked) == 1999
    plain = new_order()
    await till.place(plain)
    await captured_once(till, plain)
    assert (await hits(till))[0] > 0


REFUNDS: dict[str, dict[str, Any]] = {
    "pending-succeeded": {"do": "pending", "wait_ms": 1_500},
    "silent-done": {"do": "silent"},
    "silent-not-done": {"do": "silent", "done": False},
    "500-done": {"do": "error", "done": True},
    "429-not-done": {"do": "error", "status": 429},
    "cut": {"do": "cut"},
    "garbage": {"do": "garbage"},
    "unknown-status": {"do": "unknown_status"},
    "wrong-amount-in-the-answer": {"do": "wrong_amount", "where": "answer"},
    "wrong-currency-in-the-answer": {"do": "wrong_currency", "where": "answer"},
}


async def test_refunds_that_go_wrong_give_back_once(till: Till) -> None:
    orders = {name: await till.pay() for name in REFUNDS}
    await play(
        till, *({"on": "refund", "next": 1, "reference": orders[name].id, **rule} for name, rule in REFUNDS.items())
    )
    for order in orders.values():
        assert (await till.refund(order, 700)).status == 201
    for name, order in orders.items():
        try:
            await till.until(order, "partially_refunded", timeout_s=30.0)
            assert await till.taken_minor(order) == 1299
            assert await till.told(order) == ["captured", "refunded"]
            assert await till.booked(order) == [("capture", 1999), ("refund", 700)]
        except (AssertionError, TimeoutError) as exc:
            raise AssertionError(name) from exc
    assert await hits(till) == [1] * len(REFUNDS)
    await nothing_is_flagged(till)


async def test_a_refund_that_fails_after_a_while_can_be_asked_for_again(till: Till) -> None:
    order = await till.pay()
    await play(till, {"on": "refund", "next": 1, "do": "pending", "wait_ms": 800, "then": "failed"})
    first = await till.refund(order)
    assert (first.status, first.json["status"]) == (201, "pending")
    await eventually(lambda: _told(till, order, "refund_failed"))
    assert (await till.see(order))["status"] == "captured"
    assert (await till.refund(order)).status == 201
    await till.until(order, "refunded")
    assert await till.told(order) == ["captured", "refund_failed", "refunded"]
    assert await till.taken_minor(order) == 0
    await till.check_books()


async def test_the_refund_of_a_cancelled_order_is_tried_until_it_succeeds(till: Till) -> None:
    order = await till.pay()
    await play(till, {"on": "refund", "next": 2, "do": "pending", "wait_ms": 300, "then": "failed"})
    await till.cancel(order)
    await till.until(order, "refunded", timeout_s=30.0)
    assert await till.taken_minor(order) == 0
    assert await till.told(order) == ["captured", "refunded"]
    assert await hits(till) == [2]
    await nothing_is_flagged(till)


@pytest.mark.parametrize("rule", [{"do": "error", "status": 503, "done": True}, {"do": "silent"}, {"do": "error"}])
async def test_a_void_that_goes_wrong_lets_go_all_the_same(till: Till, rule: dict[str, Any]) -> None:
    order = new_order("pm_card_authenticationRequired")
    await till.place(order)
    await till.until(order, "requires_action")
    await play(till, {"on": "cancel", "next": 1, **rule})
    await till.cancel(order)
    await till.until(order, "cancelled", timeout_s=30.0)
    assert [charge["status"] for charge in await till.charges(order)] == ["cancelled"]
    assert await till.told(order) == ["requires_action", "cancelled"]
    assert await hits(till) == [1]


async def _told(till: Till, order: Order, kind: str) -> bool:
    return kind in await till.told(order)
