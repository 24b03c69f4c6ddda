"""The script on the real process: what each rule does to the answer, to the books, and to the webhooks."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import aiohttp.web
import pytest

from tests.integration.test_sandbox_process import refusal
from tests.integration.test_sandbox_webhooks import Receiver, receiver, until, until_pending
from tests.sandbox_process import Sandbox, running_sandbox
from tradewind.sandbox.store import SCHEMA

__all__ = ["receiver"]


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with running_sandbox(tmp_path / "psp") as running:
        yield running


async def play(sandbox: Sandbox, *rules: dict[str, Any], **script: Any) -> None:
    answer = await sandbox.call("POST", "/v1/_control", {"script": {"rules": rules, **script}})
    assert answer.status == 200, answer.body


async def refund(sandbox: Sandbox, charge: dict[str, Any], amount_minor: int, key: str) -> Any:
    body = {"charge_id": charge["id"], "amount_minor": amount_minor, "reference": f"ref-{key}"}
    return await sandbox.call("POST", "/v1/refunds", body, key=key)


async def test_a_wrong_script_changes_nothing_and_says_why(sandbox: Sandbox) -> None:
    await play(sandbox, {"on": "charge", "next": 1, "do": "error", "status": 503})
    wrong = await sandbox.call("POST", "/v1/_control", {"script": {"rules": [{"on": "charge", "do": "silent"}]}})
    assert (wrong.status, wrong.body["error"]["code"]) == (400, "parameter_invalid")
    assert "exactly one of next, every and chance" in wrong.body["error"]["message"]
    assert (await sandbox.charge("k1")).status == 503
    (rule,) = (await sandbox.call("GET", "/v1/_control")).body["script"]
    assert (rule["rule"]["do"], rule["asked"], rule["hit"]) == ("error", 1, 1)


async def test_a_script_from_the_environment_is_played_or_stops_the_start(tmp_path: Path) -> None:
    script = '{"rules": [{"on": "charge", "next": 1, "do": "error"}]}'
    async with running_sandbox(tmp_path / "one", SCRIPT=script) as sandbox:
        assert [(await sandbox.charge("k1")).status for _ in range(2)] == [500, 201]
    assert "PSP_SANDBOX_SCRIPT" in await refusal(Sandbox(tmp_path / "two", SCRIPT='{"rules": 1}'))


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("do", ["silent", "error", "reset"])
async def test_no_answer_with_and_without_having_done_it(sandbox: Sandbox, do: str, done: bool) -> None:
    await play(sandbox, {"on": "charge", "next": 1, "do": do, "done": done})
    try:
        reply = await sandbox.charge("k1", timeout_s=0.5)
        assert (do, reply.status) == ("error", 500)
    except (TimeoutError, aiohttp.ClientError) as exc:
        assert isinstance(exc, TimeoutError) == (do == "silent")
    found = await sandbox.charges(idempotency_key="k1")
    assert len(found) == done
    again = await sandbox.charge("k1")
    assert (again.status, len(await sandbox.charges())) == (201, 1)
    assert found in ([], [again.body])


async def test_an_answer_that_is_cut_or_garbage_has_charged(sandbox: Sandbox) -> None:
    await play(sandbox, {"on": "charge", "next": 1, "do": "cut"}, {"on": "charge", "next": 1, "do": "garbage"})
    with pytest.raises(aiohttp.ClientError):
        await sandbox.charge("k1")
    with pytest.raises(ValueError, match=r"Unterminated"):
        await sandbox.charge("k2")
    assert [charge["status"] for charge in await sandbox.charges()] == ["succeeded"] * 2


async def test_late_has_done_it_at_once_and_slow_only_then(sandbox: Sandbox) -> None:
    await play(
        sandbox,
        {"on": "charge", "next": 1, "do": "late", "wait_ms": 1500},
        {"on": "charge", "next": 1, "do": "slow", "wait_ms": 1500},
    )
    late, slow = asyncio.create_task(sandbox.charge("late")), None
    async with asyncio.timeout(1.4):
        while not await sandbox.charges(idempotency_key="late"):
            await asyncio.sleep(0.01)
    assert not late.done()
    slow = asyncio.create_task(sandbox.charge("slow"))
    await late
    assert await sandbox.charges(idempotency_key="slow") == []
    assert (await slow).status == 201


async def test_a_wrong_answer_leaves_the_books_right_and_wrong_books_are_told_truly(sandbox: Sandbox) -> None:
    await play(
        sandbox,
        {"on": "charge", "next": 1, "do": "wrong_amount", "by_minor": -100, "where": "answer"},
        {"on": "charge", "next": 1, "do": "wrong_amount", "by_minor": 1},
        {"on": "charge", "next": 1, "do": "wrong_currency", "currency": "USD"},
        {"on": "charge", "next": 1, "do": "wrong_reference", "says": "another"},
        {"on": "charge", "next": 1, "do": "unknown_status"},
    )
    told = [(await sandbox.charge(f"k{n}")).body for n in range(5)]
    books = {f"k{n}": (await sandbox.charges(idempotency_key=f"k{n}"))[0] for n in range(5)}
    assert (told[0]["amount_minor"], told[0]["amount_captured_minor"], books["k0"]["amount_minor"]) == (
        1899,
        1899,
        1999,
    )
    assert told[1] == books["k1"]
    assert (told[1]["amount_minor"], told[1]["amount_captured_minor"]) == (2000, 2000)
    assert (told[2]["currency"], books["k2"]["currency"]) == ("USD", "USD")
    assert (told[3]["reference"], books["k3"]["reference"]) == ("another", "another")
    assert (told[4]["status"], books["k4"]["status"]) == ("settling", "succeeded")
    balance = {
        item["currency"]: item["captured_minor"] for item in (await sandbox.call("GET", "/v1/balance")).body["items"]
    }
    assert balance == {"EUR": 1999 * 3 + 2000, "USD": 1999}
    # The same key again: the first answer, as the books have it.
    assert (await sandbox.charge("k0")).body == books["k0"]


async def test_one_call_two_charges(sandbox: Sandbox) -> None:
    await play(sandbox, {"on": "charge", "next": 1, "do": "double"})
    first = (await sandbox.charge("k1")).body
    assert (await sandbox.charge("k1")).body == first
    both = await sandbox.charges(reference="ref-k1")
    assert ([charge["status"] for charge in both], both[0]) == (["succeeded"] * 2, first)
    assert both[1]["metadata"] == first["metadata"]


async def test_moves_go_wrong_like_charges(sandbox: Sandbox) -> None:
    held = [(await sandbox.charge(f"k{n}", capture=False)).body for n in range(3)]
    await play(
        sandbox,
        {"on": "capture", "next": 1, "do": "error", "status": 503, "done": True},
        {"on": "capture", "next": 1, "do": "wrong_amount", "by_minor": -10},
        {"on": "cancel", "next": 1, "do": "error", "status": 429},
    )
    replies = [
        await sandbox.call("POST", f"/v1/charges/{held[0]['id']}/capture"),
        await sandbox.call("POST", f"/v1/charges/{held[1]['id']}/capture"),
        await sandbox.call("POST", f"/v1/charges/{held[2]['id']}/cancel"),
    ]
    assert [reply.status for reply in replies] == [503, 200, 429]
    assert replies[2].headers["Retry-After"] == "1"
    seen = await sandbox.charges()
    assert [(charge["status"], charge["amount_captured_minor"]) for charge in seen] == [
        ("succeeded", 1999), ("succeeded", 1989), ("authorized", 0),
    ]  # fmt: skip


@pytest.mark.parametrize("then", ["succeeded", "failed"])
async def test_a_refund_stays_pending_and_then_ends_also_over_kill_9(
    receiver: Receiver, tmp_path: Path, then: str
) -> None:
    async with running_sandbox(tmp_path, WEBHOOK_URL=receiver.url, WEBHOOK_DOUBLE_PERCENT="0") as sandbox:
        charge = (await sandbox.charge("k1")).body
        await play(sandbox, {"on": "refund", "next": 1, "do": "pending", "wait_ms": 700, "then": then})
        pending = await refund(sandbox, charge, 1500, "r1")
        assert (pending.status, pending.body["status"]) == (201, "pending")
        # What is set aside cannot be given back again, and is not gone yet.
        assert (await refund(sandbox, charge, 500, "r2")).body["error"]["code"] == "refund_exceeds_captured"
        assert (await sandbox.charges())[0]["amount_refunded_minor"] == 0
        await sandbox.kill()
        await sandbox.start()
        await until(lambda: f"refund.{then}" in receiver.types())
        (ended,) = (await sandbox.call("GET", "/v1/refunds")).body["items"]
        refunded = 1500 if then == "succeeded" else 0
        assert (ended["status"], (await sandbox.charges())[0]["amount_refunded_minor"]) == (then, refunded)
        (balance,) = (await sandbox.call("GET", "/v1/balance")).body["items"]
        assert (balance["refunds"], balance["refunded_minor"]) == (int(then == "succeeded"), refunded)
        assert (await refund(sandbox, charge, 1999 - refunded, "r3")).status == 201
        # The kill may have come before the receiver's word that it had the first ones: then they come again, later.
        await until(lambda: {"charge.succeeded", "refund.pending", f"refund.{then}"} <= set(receiver.types()))


async def test_webhooks_go_wrong(receiver: Receiver, tmp_path: Path) -> None:
    async with running_sandbox(tmp_path, WEBHOOK_URL=receiver.url, WEBHOOK_DOUBLE_PERCENT="0") as sandbox:
        await play(
            sandbox,
            *({"on": "webhook", "next": 1, "reference": f"ref-{name}", **rule} for name, rule in {
                "never": {"do": "never"},
                "double": {"do": "double", "wait_ms": 10},
                "late": {"do": "late", "wait_ms": 600},
                "strange": {"do": "unknown_charge"},
                "overtaken": {"do": "overtaken"},
            }.items()),
        )  # fmt: skip
        made = {
            name: (await sandbox.charge(name, capture=False)).body["id"]
            for name in ("never", "double", "late", "strange", "overtaken")
        }
        await sandbox.call("POST", f"/v1/charges/{made['overtaken']}/capture")
        await until(lambda: len(receiver.events) == 7)
        await until_pending(sandbox, 0)
        told = [(event["type"], event["data"]["object"]["id"]) for event in receiver.events]
        assert [which for _, which in told].count(made["double"]) == 2
        assert made["never"] not in {which for _, which in told}
        assert [kind for kind, which in told if which == made["overtaken"]] == ["charge.succeeded", "charge.authorized"]
        assert ("charge.authorized", made["late"]) in told
        (strange,) = {which for _, which in told} - set(made.values())
        assert (await sandbox.call("GET", f"/v1/charges/{strange}")).status == 404


async def test_a_webhook_may_come_before_the_answer(receiver: Receiver, tmp_path: Path) -> None:
    async with running_sandbox(tmp_path, WEBHOOK_URL=receiver.url, WEBHOOK_DELAY_MS="60000") as sandbox:
        await play(sandbox, {"on": "webhook", "every": 1, "do": "before_answer"})
        for n in range(5):
            reply = await sandbox.charge(f"k{n}")
            assert [event["data"]["object"]["id"] for event in receiver.events][n:] == [reply.body["id"]]
        receiver.failing = True
        assert (await sandbox.charge("k9")).status == 201


async def test_an_old_signature_is_right_but_old(tmp_path: Path) -> None:
    seen: list[float] = []

    async def take(request: aiohttp.web.Request) -> aiohttp.web.Response:
        given = dict(part.split("=", 1) for part in request.headers["Sandbox-Signature"].split(","))
        seen.append(time.time() - int(given["t"]))
        return aiohttp.web.Response(status=400)

    app = aiohttp.web.Application()
    app.router.add_post("/", take)
    runner = aiohttp.web.AppRunner(app)
    await runner.setup()
    await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        async with running_sandbox(tmp_path, WEBHOOK_URL=url, WEBHOOK_DOUBLE_PERCENT="0") as sandbox:
            await play(sandbox, {"on": "webhook", "next": 1, "do": "old_signature", "age_s": 900})
            await sandbox.charge("k1")
            await until(lambda: len(seen) >= 2)
            assert all(899 <= age < 960 for age in seen[:2])
    finally:
        await runner.cleanup()


async def test_the_seed_plays_the_same_again(tmp_path: Path) -> None:
    """Two processes, the same customers at once: each charge meets the same fate, however the calls interleave."""

    async def fate(sandbox: Sandbox, key: str) -> str:
        try:
            return str((await sandbox.charge(key)).status)
        except aiohttp.ClientError:
            return "reset"

    runs = []
    for n in range(2):
        async with running_sandbox(tmp_path / str(n), SEED="3") as sandbox:
            await play(
                sandbox,
                {"on": "charge", "chance": 0.2, "do": "reset", "done": False},
                {"on": "charge", "chance": 0.2, "do": "error", "status": 503},
                {"on": "charge", "chance": 0.2, "do": "wrong_amount"},
            )
            keys = [f"k{each}" for each in range(60)]
            seen = await asyncio.gather(*(fate(sandbox, key) for key in (keys if n else reversed(keys))))
            books = sorted((charge["reference"], charge["amount_minor"]) for charge in await sandbox.charges())
            runs.append((dict(zip(keys if n else reversed(keys), seen, strict=True)), books))
    assert runs[0] == runs[1]
    assert {"201", "503", "reset"} == set(runs[0][0].values())


async def test_a_store_of_the_version_before_is_taken_over(tmp_path: Path) -> None:
    old = "\n".join(
        line for line in SCHEMA.splitlines()
        if not any(word in line for word in ("refund_pending", "ends_as", "ends_at_ms", "held_for", "signed_ago_s"))
        and "status TEXT NOT NULL DEFAULT" not in line
    )  # fmt: skip
    old = old.replace("created_at_ms INTEGER NOT NULL,\n)", "created_at_ms INTEGER NOT NULL\n)")
    old = old.replace("abandoned INTEGER NOT NULL DEFAULT 0,\n)", "abandoned INTEGER NOT NULL DEFAULT 0\n)")
    tmp_path.mkdir(exist_ok=True)
    with sqlite3.connect(tmp_path / "psp.sqlite3") as db:
        db.executescript(old + "PRAGMA user_version = 1;")
        db.execute(
            "INSERT INTO charge VALUES (1,'ch_1','k','r','pm_card_visa',10,10,4,'EUR',1,'succeeded',NULL,NULL,'{}',0)"
        )
        db.execute("INSERT INTO refund VALUES (1,'re_1','ch_1','rr',4,'EUR',0)")
    async with running_sandbox(tmp_path) as sandbox:
        (kept,) = (await sandbox.call("GET", "/v1/refunds")).body["items"]
        assert (kept["id"], kept["status"]) == ("re_1", "succeeded")
        assert (await refund(sandbox, {"id": "ch_1"}, 6, "r2")).status == 201
