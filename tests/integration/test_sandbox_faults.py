"""Payment methods that go wrong on the way: what the client sees, what is stored, and that retrying always ends."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.sandbox_process import Sandbox, running_sandbox

ATTEMPTS_MAX = 4


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with running_sandbox(tmp_path / "psp") as running:
        yield running


async def test_a_timeout_that_did_charge(sandbox: Sandbox) -> None:
    with pytest.raises(TimeoutError):
        await sandbox.charge("k1", "pm_sandbox_timeout_charged", timeout_s=0.5)
    (found,) = await sandbox.charges(idempotency_key="k1")
    assert found["status"] == "succeeded"
    again = await sandbox.charge("k1", "pm_sandbox_timeout_charged")
    assert (again.status, again.body) == (201, found)


async def test_a_timeout_that_did_not_charge(sandbox: Sandbox) -> None:
    with pytest.raises(TimeoutError):
        await sandbox.charge("k1", "pm_sandbox_timeout_not_charged", timeout_s=0.5)
    assert await sandbox.charges(idempotency_key="k1") == []
    assert await sandbox.charges(reference="ref-k1") == []
    # Which attempt it is outlives the process.
    await sandbox.kill()
    await sandbox.start()
    again = await sandbox.charge("k1", "pm_sandbox_timeout_not_charged")
    assert (again.status, again.body["status"]) == (201, "succeeded")


async def test_a_slow_charge_lands_after_its_client_left_and_a_retry_finds_it(sandbox: Sandbox) -> None:
    with pytest.raises(TimeoutError):
        await sandbox.charge("k1", "pm_sandbox_slow", timeout_s=0.5)
    assert await sandbox.charges(idempotency_key="k1") == []
    early = await sandbox.charge("k1", "pm_sandbox_slow")
    assert early.headers["Idempotency-Replayed"] == "true"
    assert [charge["id"] for charge in await sandbox.charges()] == [early.body["id"]]
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    assert (await sandbox.charge("k1", "pm_sandbox_slow")).body == early.body
    assert loop.time() - started_s < 2


async def test_a_flaky_charge_ends_after_a_few_attempts_and_charges_once(sandbox: Sandbox) -> None:
    seen: Counter[str] = Counter()

    async def pay(n: int) -> str:
        for _ in range(ATTEMPTS_MAX):
            try:
                reply = await sandbox.charge(f"k{n}", "pm_sandbox_flaky")
            except aiohttp.ClientError as exc:
                seen[type(exc).__name__] += 1
                continue
            seen[str(reply.status)] += 1
            if reply.status == 201:
                return str(reply.body["id"])
        raise AssertionError("no answer after the last attempt")

    paid = await asyncio.gather(*(pay(n) for n in range(40)))
    assert sorted(charge["id"] for charge in await sandbox.charges()) == sorted(paid)
    assert seen["201"] == 40
    assert seen["500"] > 5
    assert sum(seen.values()) - seen["201"] - seen["500"] > 5, "no connection was reset"


async def test_a_stop_does_not_wait_for_the_silent(sandbox: Sandbox) -> None:
    held = asyncio.create_task(sandbox.charge("k1", "pm_sandbox_timeout_charged"))
    async with asyncio.timeout(5):
        while not await sandbox.charges(idempotency_key="k1"):
            await asyncio.sleep(0.01)
        assert await sandbox.stop() == 0
    with pytest.raises(aiohttp.ClientError):
        await held
