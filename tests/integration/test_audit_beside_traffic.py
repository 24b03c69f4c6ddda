"""The audit beside the traffic of a real platform: orders, declines, time-outs, refunds and cancellations all the while.

TEST_AUDIT_TRAFFIC_S lengthens it from a quarter of a minute, TEST_AUDIT_TRAFFIC_PER_S asks for more orders, TEST_AUDITS for more audits.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from tradewind.bench.platform import Platform
from tradewind.chassis.ids import new_id
from tradewind.traffic.client import Refused, Shop, Shopper, open_shop
from tradewind.traffic.operator import operator_token

AUDITS = int(os.environ.get("TEST_AUDITS", "10"))
WAIT = "2s"
RATE_PER_S = float(os.environ.get("TEST_AUDIT_TRAFFIC_PER_S", "8"))
SHOPPERS = 6
SKUS = ("mug", "cap", "pen")
METHODS = {
    "pm_card_visa": 12,
    "pm_card_chargeDeclined": 2,
    "pm_card_authenticationRequired": 2,
    "pm_sandbox_flaky": 2,
    "pm_sandbox_timeout_charged": 1,
    "pm_sandbox_timeout_not_charged": 1,
    "pm_sandbox_slow": 1,
}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform of its own."""
    folder: Path = tmp_path_factory.mktemp("beside")
    platform = Platform(folder / "state")
    try:
        platform.up()
        asyncio.run(_fill_catalogue(platform))
        yield platform
    finally:
        platform.down("--volumes")


async def _fill_catalogue(platform: Platform) -> None:
    async with open_shop(platform.url) as shop:
        for sku in (*SKUS, "rare"):
            await shop.create_product(operator_token(platform.keys_file), sku, sku, 700, 100_000)


class Crowd:
    """Customers who order, change their minds, and get money back."""

    def __init__(self, shop: Shop, admin: str, shoppers: list[Shopper]) -> None:
        self._shop = shop
        self._admin = admin
        self._shoppers = shoppers
        self._random = random.Random(1788)
        self.did: Counter[str] = Counter()

    async def throng(self, stop: asyncio.Event) -> None:
        """A new customer every so often, until `stop`; returns when the last one has gone."""
        async with asyncio.TaskGroup() as customers:
            while not stop.is_set():
                customers.create_task(self._customer())
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1 / RATE_PER_S):
                        await stop.wait()

    async def _customer(self) -> None:
        shopper = self._random.choice(self._shoppers)
        method = self._random.choices(list(METHODS), list(METHODS.values()))[0]
        lines = [(sku, self._random.randint(1, 2)) for sku in self._random.sample(SKUS, 2)]
        order = await self._shop.place_order(shopper, lines, method)
        self.did[f"placed, {method}"] += 1
        whim = self._random.choice(["keep", "keep", "cancel", "cancel later", "refund", "refund some"])
        if whim == "cancel" or method == "pm_card_authenticationRequired":
            await self._cancel(shopper, order["id"])
            return
        settled = await self._shop.settled(shopper.token, order["id"])
        if settled["status"] != "confirmed":
            return
        match whim:
            case "cancel later":
                await self._cancel(shopper, order["id"])
            case "refund":
                await self._refund(order["id"], None)
            case "refund some":
                await self._refund(order["id"], {"amount_minor": 150, "currency": "EUR"})
                await self._refund(order["id"], {"amount_minor": 50, "currency": "EUR"})

    async def _cancel(self, shopper: Shopper, order_id: str) -> None:
        with contextlib.suppress(Refused):
            path = f"/v1/orders/{order_id}/cancel"
            await self._shop.call("POST", path, token=shopper.token, body={}, key=new_id())
            self.did["cancelled"] += 1

    async def _refund(self, order_id: str, amount: dict[str, object] | None) -> None:
        with contextlib.suppress(Refused):
            await self._shop.refund(self._admin, order_id, "broken", amount)
            self.did["refunded"] += 1


def audited(platform: Platform, wait: str) -> tuple[dict[str, Any], int]:
    """What the verb prints, and its exit code."""
    done = subprocess.run(
        [sys.executable, "-m", "tradewind.cli", "audit", "--format", "json", "--wait", wait],
        env=platform.environ, capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    return msgspec.json.decode(done.stdout), done.returncode


@pytest.mark.timeout(300)
async def test_traffic_is_never_taken_for_a_violation(platform: Platform) -> None:
    seconds = float(os.environ.get("TEST_AUDIT_TRAFFIC_S", "15"))
    admin = operator_token(platform.keys_file)
    async with open_shop(platform.url) as shop:
        shoppers = [
            await shop.register(f"{n}-{new_id()}@example.test", f"correct {new_id()}", "B") for n in range(SHOPPERS)
        ]
        crowd, stop = Crowd(shop, admin, shoppers), asyncio.Event()
        throng = asyncio.create_task(crowd.throng(stop))
        try:
            for _ in range(AUDITS):
                pause = asyncio.create_task(asyncio.sleep(seconds / AUDITS))
                report, exit_code = await asyncio.to_thread(audited, platform, WAIT)
                assert (report["violations"], report["complete"]) == ([], True)
                assert exit_code == (0 if report["settled"] else 17)
                assert not throng.done()
                await pause
        finally:
            stop.set()
            await throng
    print(crowd.did)
    assert min(crowd.did[f"placed, {method}"] for method in METHODS) > 0
    assert crowd.did["cancelled"] > 5
    assert crowd.did["refunded"] > 5
    report, exit_code = await asyncio.to_thread(audited, platform, "60s")
    assert (exit_code, report["clean"], report["settled"], report["left_out"]) == (0, True, True, [])


LEDGER_OPEN = """
    ALTER TABLE ledger_transaction DROP CONSTRAINT ledger_rules;
    INSERT INTO ledger_transaction (cause, cause_id, payment_id, debit_account, credit_account, amount_minor, currency)
    SELECT 'adjustment', gen_random_uuid(), id, 'slush', 'sales', 5, currency FROM payment WHERE order_id = '{kept}'
"""
PLANTED: dict[str, tuple[str, str]] = {
    "I1": ("payment_service", LEDGER_OPEN),
    "I2": (
        "payment_service",
        """
        ALTER TABLE payment DROP CONSTRAINT payment_check;
        UPDATE payment SET amount_minor = captured_minor - 1 WHERE order_id = '{kept}'
        """,
    ),
    "I3": (
        "order_service",
        """
        UPDATE idempotency_key SET body = convert_to(replace(convert_from(body, 'UTF8'), '{kept}', gen_random_uuid()::text), 'UTF8')
        WHERE convert_from(body, 'UTF8') LIKE '%{kept}%'
        """,
    ),
    "I4": ("notification_service", "DELETE FROM inbox WHERE event_id IN (SELECT event_id FROM notification LIMIT 1)"),
    "I5": (
        "bus",
        """
        UPDATE log SET value = convert_to(
            replace(convert_from(value, 'UTF8'), '"aggregateversion":2', '"aggregateversion":3'), 'UTF8'
        ) WHERE key = '{kept}'
        """,
    ),
    "I6": ("order_service", "UPDATE stock SET available = available - 1 WHERE sku = 'rare'"),
    "I7": (
        "notification_service",
        """
        ALTER TABLE mail DROP CONSTRAINT mail_pkey;
        INSERT INTO mail (notification_id, message_id, sent_at)
        SELECT notification_id, '<again@x.example>', now() FROM mail WHERE sent_at IS NOT NULL LIMIT 1
        """,
    ),
    "I8": ("analytics_service", "UPDATE money_fact SET amount_minor = amount_minor - 1 WHERE order_id = '{kept}'"),
    "I9": (
        "notification_service",
        """
        UPDATE mail SET sent_at = NULL, due_at = now() + interval '1 hour' WHERE notification_id = (
            SELECT id FROM notification WHERE data ->> 'order_id' = '{kept}' LIMIT 1
        );
        UPDATE notification SET created_at = now() - interval '1 hour' WHERE data ->> 'order_id' = '{kept}'
        """,
    ),
    "I10": (
        "auth_service",
        """
        INSERT INTO dead_letter (consumer_group, event_id, topic, partition, "offset", key, type, value, headers, error,
            detail, attempts, first_failed_at, last_failed_at)
        VALUES ('auth-service', gen_random_uuid(), 'user', 0, 0, 'k', 'user.noted.v1', '', '{{}}', 'E', 'd', 1, now(), now())
        """,
    ),
    "I11": ("order_service", "UPDATE orders SET currency = 'USD' WHERE id = '{kept}'"),
}
"""By invariant: the database, and what breaks it there, while everything runs."""


@pytest.mark.timeout(300)
async def test_violations_of_each_invariant_are_named_while_traffic_runs(platform: Platform) -> None:
    """Last in the file: the platform is not to be trusted afterwards."""
    admin = operator_token(platform.keys_file)
    async with open_shop(platform.url) as shop:
        shoppers = [
            await shop.register(f"{new_id()}@example.test", f"correct {new_id()}", "B") for _ in range(SHOPPERS)
        ]
        kept = await shop.place_order(shoppers[0], [("rare", 1)], "pm_card_visa")
        await shop.settled(shoppers[0].token, kept["id"])
        crowd, stop = Crowd(shop, admin, shoppers), asyncio.Event()
        throng = asyncio.create_task(crowd.throng(stop))
        try:
            for database, statement in PLANTED.values():
                await _break(platform, database, statement.format(kept=kept["id"]))
            found = []
            for _ in range(3):
                report, exit_code = await asyncio.to_thread(audited, platform, WAIT)
                assert exit_code == 1
                found.append({(each["invariant"], each["subject"]) for each in report["violations"]})
                assert not throng.done()
            assert {invariant for invariant, _ in found[0]} == PLANTED.keys()
            assert found[0] == found[1] == found[2], "what traffic does in between is none"
            assert len(found[0]) <= len(PLANTED) + 2, found[0]
        finally:
            stop.set()
            await throng


async def _break(platform: Platform, database: str, statement: str) -> None:
    connection = await asyncpg.connect(platform.admin_url.rpartition("/")[0] + f"/{database}")
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
