"""The process: what stops its start, how it ends, and that `kill -9` takes nothing that was answered."""

from __future__ import annotations

import asyncio
import random
import socket
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.sandbox_process import API_KEY, WEBHOOK_SECRET, Sandbox, running_sandbox

ROUNDS = 5
CLIENTS = 16


async def refusal(sandbox: Sandbox, **changes: str) -> str:
    """Start a process that must not start; its one line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tradewind.sandbox",
        env=sandbox.environment() | changes,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(15):
            _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 1
    (line,) = errors.decode().splitlines()
    return line


async def test_it_runs_only_in_dev(tmp_path: Path) -> None:
    assert "TRADEWIND_ENV=dev" in await refusal(Sandbox(tmp_path), TRADEWIND_ENV="prod")


async def test_a_wrong_setting_is_one_line_and_exit_1(tmp_path: Path) -> None:
    line = await refusal(Sandbox(tmp_path, LATENCY_MS="soon", API_KEY="short"))
    assert "PSP_SANDBOX_LATENCY_MS" in line
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"127.0.0.1:{port}" in await refusal(Sandbox(tmp_path), PSP_SANDBOX_PORT=port)
    file = tmp_path / "file"
    file.write_text("")
    assert "PSP_SANDBOX_STATE" in await refusal(Sandbox(file))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "psp.sqlite3").write_bytes(b"not a database" * 1000)
    assert "PSP_SANDBOX_STATE" in await refusal(Sandbox(broken))


async def test_one_process_a_state_folder(tmp_path: Path) -> None:
    async with running_sandbox(tmp_path) as running:
        assert "another sandbox" in await refusal(running, PSP_SANDBOX_PORT="0")


async def test_sigterm_answers_what_is_under_way_and_exits_0(tmp_path: Path) -> None:
    async with running_sandbox(tmp_path, LATENCY_MS="500") as sandbox:
        under_way = [asyncio.create_task(sandbox.charge(f"k{n}")) for n in range(10)]
        await asyncio.sleep(0.2)
        assert await sandbox.stop() == 0
        replies = await asyncio.gather(*under_way)
        assert [reply.status for reply in replies] == [201] * 10


async def test_nothing_secret_is_logged(tmp_path: Path) -> None:
    async with running_sandbox(tmp_path, WEBHOOK_URL="http://127.0.0.1:9/") as sandbox:
        waiting = await sandbox.charge("k1", "pm_card_authenticationRequired")
        await sandbox.charge("k2", "4242424242424242")
        token = waiting.body["next_action"]["url"].split("token=")[1]
        await sandbox.call("GET", f"/challenge/{waiting.body['id']}?token={token}")
        await sandbox.stop()
        written = str(sandbox.lines)
        assert "/v1/charges" in written
        for secret in (API_KEY, WEBHOOK_SECRET, token, "4242424242424242"):
            assert secret not in written


@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_kill_9_takes_nothing_that_was_answered(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    answered: dict[str, dict[str, Any]] = {}
    asked: set[str] = set()

    async def customer(n: int) -> None:
        for step in range(10_000):
            key = f"k-{n}-{step}"
            method = dice.choice(["pm_card_visa", "pm_card_visa", "pm_card_chargeDeclined"])
            asked.add(f"{key} {method}")
            try:
                reply = await sandbox.charge(key, method)
            except (aiohttp.ClientError, OSError):
                return
            assert reply.status in (201, 402)
            answered[key] = reply.body if reply.status == 201 else reply.body["error"]["charge"]

    async with running_sandbox(tmp_path / "psp") as sandbox:
        customers = [asyncio.create_task(customer(n)) for n in range(CLIENTS)]
        await asyncio.sleep(dice.uniform(0.1, 0.6))
        await sandbox.kill()
        await asyncio.gather(*customers)
        await sandbox.start()

        stored = {charge["id"]: charge for charge in await sandbox.charges()}
        assert answered
        for charge in answered.values():
            assert stored[charge["id"]] == charge

        unanswered = [line.split() for line in sorted(asked) if line.split()[0] not in answered]
        assert len(unanswered) == CLIENTS
        for key, method in unanswered:
            found = await sandbox.charges(idempotency_key=key)
            reply = await sandbox.charge(key, method)
            charge = reply.body if reply.status == 201 else reply.body["error"]["charge"]
            assert found in ([], [charge])

        charges = await sandbox.charges()
        assert len(charges) == len(asked)
        assert len({charge["reference"] for charge in charges}) == len(asked)
        (balance,) = (await sandbox.call("GET", "/v1/balance")).body["items"]
        assert balance["captured_minor"] == sum(charge["amount_captured_minor"] for charge in charges)
