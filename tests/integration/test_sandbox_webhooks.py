"""Webhooks: signed, queued with the change they tell of, retried, doubled, late, held back by an outage, kept by `kill -9`."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.sandbox_process import WEBHOOK_SECRET, Sandbox, running_sandbox

PATIENCE_S = 10.0


class Receiver:
    """The merchant's end: checks signatures, keeps events, fails while told to."""

    def __init__(self) -> None:
        self.url = ""
        self.events: list[dict[str, Any]] = []
        self.tries = 0
        self.failing = False

    async def take(self, request: web.Request) -> web.Response:
        raw = await request.read()
        self.tries += 1
        given = dict(part.split("=", 1) for part in request.headers["Sandbox-Signature"].split(","))
        expected = hmac.new(WEBHOOK_SECRET.encode(), given["t"].encode() + b"." + raw, hashlib.sha256).hexdigest()
        assert given["v1"] == expected
        assert abs(time.time() - int(given["t"])) < 5
        if self.failing:
            return web.Response(status=503)
        self.events.append(json.loads(raw))
        return web.Response(status=204)

    def types(self) -> list[str]:
        return [event["type"] for event in self.events]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hooks", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    receiver.url = f"http://{host}:{port}/hooks?source=sandbox"
    yield receiver
    await runner.cleanup()


def sandbox_for(receiver: Receiver, state: Path, **settings: str) -> contextlib.AbstractAsyncContextManager[Sandbox]:
    return running_sandbox(state, WEBHOOK_URL=receiver.url, **{"WEBHOOK_DOUBLE_PERCENT": "0"} | settings)


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not met():
            await asyncio.sleep(0.01)


async def until_pending(sandbox: Sandbox, count: int) -> None:
    """A webhook leaves the queue a moment after it arrived."""
    async with asyncio.timeout(PATIENCE_S):
        while (await sandbox.call("GET", "/v1/_control")).body["webhooks_pending"] != count:
            await asyncio.sleep(0.01)


async def test_every_change_is_told_once_with_the_object_as_it_was(receiver: Receiver, tmp_path: Path) -> None:
    async with sandbox_for(receiver, tmp_path) as sandbox:
        held = (await sandbox.charge("k1", capture=False)).body
        captured = (await sandbox.call("POST", f"/v1/charges/{held['id']}/capture")).body
        await sandbox.call("POST", f"/v1/charges/{held['id']}/capture")
        body = {"charge_id": held["id"], "amount_minor": 99, "reference": "r1"}
        refund = (await sandbox.call("POST", "/v1/refunds", body, key="refund")).body
        await sandbox.call("POST", "/v1/refunds", body, key="refund")
        await sandbox.charge("k1", capture=False)
        declined = (await sandbox.charge("k2", "pm_card_chargeDeclined")).body["error"]["charge"]
        await until(lambda: len(receiver.events) == 4)
        await until_pending(sandbox, 0)
        told = {event["type"]: event["data"]["object"] for event in receiver.events}
        assert told == {
            "charge.authorized": held,
            "charge.succeeded": captured,
            "refund.succeeded": refund,
            "charge.failed": declined,
        }
        assert all(event["id"].startswith("evt_") for event in receiver.events)


async def test_what_is_not_taken_comes_again(receiver: Receiver, tmp_path: Path) -> None:
    receiver.failing = True
    async with sandbox_for(receiver, tmp_path) as sandbox:
        await sandbox.charge("k1")
        await until(lambda: receiver.tries >= 2)
        receiver.failing = False
        await until(lambda: bool(receiver.events))
        assert receiver.types() == ["charge.succeeded"]
        assert sum(line["event"] == "webhook not taken" for line in sandbox.lines) >= 2


async def test_webhooks_outlive_kill_9(receiver: Receiver, tmp_path: Path) -> None:
    receiver.failing = True
    async with sandbox_for(receiver, tmp_path) as sandbox:
        made = {(await sandbox.charge(f"k{n}")).body["id"] for n in range(30)}
        await sandbox.kill()
        receiver.failing = False
        await sandbox.start()
        await until(lambda: {event["data"]["object"]["id"] for event in receiver.events} == made)


async def test_doubles_carry_the_same_event(receiver: Receiver, tmp_path: Path) -> None:
    async with sandbox_for(receiver, tmp_path, WEBHOOK_DOUBLE_PERCENT="100") as sandbox:
        for n in range(5):
            await sandbox.charge(f"k{n}")
        await until(lambda: len(receiver.events) == 10)
        assert set(Counter(event["id"] for event in receiver.events).values()) == {2}


async def test_shuffled_webhooks_overtake_each_other(receiver: Receiver, tmp_path: Path) -> None:
    async with sandbox_for(receiver, tmp_path, WEBHOOK_SHUFFLE="true") as sandbox:
        made = [(await sandbox.charge(f"k{n}")).body["id"] for n in range(12)]
        await until(lambda: len(receiver.events) == 12)
        told = [event["data"]["object"]["id"] for event in receiver.events]
        assert told != made
        assert sorted(told) == sorted(made)


async def test_a_late_webhook_stays_in_the_queue(receiver: Receiver, tmp_path: Path) -> None:
    async with sandbox_for(receiver, tmp_path, WEBHOOK_DELAY_MS="60000") as sandbox:
        await sandbox.charge("k1")
        await sandbox.call("POST", "/v1/_control", {"webhook_delay_ms": 0})
        await sandbox.charge("k2")
        await until(lambda: len(receiver.events) == 1)
        assert receiver.events[0]["data"]["object"]["reference"] == "ref-k2"
        await until_pending(sandbox, 1)


async def test_an_outage_holds_webhooks_back_until_it_ends(receiver: Receiver, tmp_path: Path) -> None:
    async with sandbox_for(receiver, tmp_path, WEBHOOK_DELAY_MS="300") as sandbox:
        await sandbox.charge("k1")
        await sandbox.call("POST", "/v1/_control", {"outage_s": 600})
        await asyncio.sleep(0.6)  # past the delay: nothing may come, and only time shows that
        assert receiver.events == []
        await until_pending(sandbox, 1)
        await sandbox.call("POST", "/v1/_control", {"outage_s": 0})
        await until(lambda: len(receiver.events) == 1)


async def test_without_an_address_nothing_is_queued(tmp_path: Path) -> None:
    async with running_sandbox(tmp_path) as sandbox:
        await sandbox.charge("k1")
        await until_pending(sandbox, 0)
