"""The provider's API against the real process: charges, keys, captures, refunds, lists, challenges, outages, refusals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.sandbox_process import Sandbox, charge_body, running_sandbox


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with running_sandbox(tmp_path / "psp") as running:
        yield running


async def test_a_charge_succeeds_and_reads_back_as_it_was_answered(sandbox: Sandbox) -> None:
    made = await sandbox.charge("k1")
    assert made.status == 201
    assert made.body["status"] == "succeeded"
    assert made.body["amount_captured_minor"] == made.body["amount_minor"] == 1999
    assert made.body["metadata"] == {"order_id": "order-k1"}
    read = await sandbox.call("GET", f"/v1/charges/{made.body['id']}")
    assert read.body == made.body


@pytest.mark.parametrize(
    ("method", "code"),
    [
        ("pm_card_chargeDeclined", "card_declined"),
        ("pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds"),
    ],
)
async def test_a_decline_is_a_402_that_carries_the_charge_and_replays(sandbox: Sandbox, method: str, code: str) -> None:
    declined = await sandbox.charge("k1", method)
    error = declined.body["error"]
    assert (declined.status, error["type"], error["code"]) == (402, "card_error", code)
    assert (error["charge"]["status"], error["charge"]["failure_code"]) == ("failed", code)
    again = await sandbox.charge("k1", method)
    assert (again.status, again.body, again.headers["Idempotency-Replayed"]) == (402, declined.body, "true")
    assert len(await sandbox.charges(idempotency_key="k1")) == 1


async def test_a_key_answers_once_and_never_for_another_body(sandbox: Sandbox) -> None:
    first = await sandbox.charge("k1")
    again = await sandbox.charge("k1")
    assert (again.status, again.body) == (first.status, first.body)
    assert "Idempotency-Replayed" not in first.headers
    other = await sandbox.charge("k1", amount_minor=2000)
    assert (other.status, other.body["error"]["type"]) == (409, "idempotency_error")
    refund = {"charge_id": first.body["id"], "amount_minor": 1, "reference": "r"}
    crossed = await sandbox.call("POST", "/v1/refunds", refund, key="k1")
    assert crossed.body["error"]["code"] == "idempotency_key_reused"
    # The same request written in another order is the same request.
    shuffled = dict(reversed(charge_body("k1").items()))
    assert (await sandbox.call("POST", "/v1/charges", shuffled, key="k1")).body == first.body


async def test_concurrent_duplicates_make_one_charge(sandbox: Sandbox) -> None:
    answers = await asyncio.gather(*(sandbox.charge("k1") for _ in range(20)))
    assert {answer.status for answer in answers} == {201}
    assert len({answer.body["id"] for answer in answers}) == 1
    assert sum("Idempotency-Replayed" in answer.headers for answer in answers) == 19
    assert len(await sandbox.charges()) == 1


async def test_what_is_wrong_is_refused_and_leaves_no_key(sandbox: Sandbox) -> None:
    unknown = await sandbox.charge("k1", "4242424242424242")
    assert (unknown.status, unknown.body["error"]["code"]) == (400, "payment_method_unknown")
    assert "4242" not in str(unknown.body)
    assert (await sandbox.charge("k1")).status == 201

    for key, code in ((None, "idempotency_key_required"), ("x" * 256, "idempotency_key_invalid")):
        refused = await sandbox.call("POST", "/v1/charges", charge_body("k2"), key=key)
        assert (refused.status, refused.body["error"]["code"]) == (400, code)
    large = await sandbox.call("POST", "/v1/charges", b"{" + b" " * 70_000, key="k2")
    assert (large.status, large.body["error"]["code"]) == (413, "body_too_large")
    assert (await sandbox.call("POST", "/v1/charges", b"{", key="k2")).body["error"]["code"] == "malformed_json"


async def test_nothing_without_the_api_key(sandbox: Sandbox) -> None:
    for api_key in (None, "", "sk_wrong", "sk_sandbox_0123456789abcde\u00e9"):
        for method, path in (("POST", "/v1/charges"), ("GET", "/v1/charges"), ("POST", "/v1/_control")):
            refused = await sandbox.call(method, path, {}, api_key=api_key)
            assert (refused.status, refused.body["error"]["type"]) == (401, "authentication_error")
    assert (await sandbox.call("GET", "/livez", api_key=None)).status == 200
    assert (await sandbox.call("GET", "/v2", api_key=None)).status == 404
    assert (await sandbox.call("DELETE", "/v1/charges")).status == 405


async def test_authorize_then_capture_or_cancel(sandbox: Sandbox) -> None:
    held = (await sandbox.charge("k1", capture=False)).body
    assert (held["status"], held["amount_captured_minor"]) == ("authorized", 0)
    path = f"/v1/charges/{held['id']}"
    assert (await sandbox.call("POST", f"{path}/capture", {"amount_minor": 5000})).status == 409
    for _ in range(2):
        captured = await sandbox.call("POST", f"{path}/capture", {"amount_minor": 500})
        assert (captured.status, captured.body["amount_captured_minor"]) == (200, 500)
    assert (await sandbox.call("POST", f"{path}/cancel")).body["error"]["code"] == "charge_not_cancellable"

    held = (await sandbox.charge("k2", capture=False)).body
    path = f"/v1/charges/{held['id']}"
    for _ in range(2):
        assert (await sandbox.call("POST", f"{path}/cancel")).body["status"] == "cancelled"
    assert (await sandbox.call("POST", f"{path}/capture")).body["error"]["code"] == "charge_not_capturable"
    assert (await sandbox.call("POST", "/v1/charges/ch_none/cancel")).status == 404


async def test_concurrent_refunds_never_exceed_what_was_captured(sandbox: Sandbox) -> None:
    charge = (await sandbox.charge("k1")).body

    async def refund(n: int) -> int:
        body = {"charge_id": charge["id"], "amount_minor": 300, "reference": f"r{n}"}
        return (await sandbox.call("POST", "/v1/refunds", body, key=f"refund-{n}")).status

    statuses = await asyncio.gather(*(refund(n) for n in range(12)))
    assert (statuses.count(201), statuses.count(409)) == (6, 6)
    assert await asyncio.gather(*(refund(n) for n in range(12))) == statuses
    refunds = (await sandbox.call("GET", f"/v1/refunds?charge_id={charge['id']}")).body["items"]
    assert sum(refund["amount_minor"] for refund in refunds) == 1800
    by_reference = (await sandbox.call("GET", f"/v1/refunds?reference={refunds[0]['reference']}")).body["items"]
    assert by_reference == refunds[:1]
    balance = (await sandbox.call("GET", "/v1/balance")).body["items"]
    assert balance == [
        {
            "currency": "EUR",
            "charges": 1,
            "refunds": 6,
            "captured_minor": 1999,
            "refunded_minor": 1800,
            "net_minor": 199,
        }
    ]


async def test_a_refused_refund_stays_refused_under_its_key(sandbox: Sandbox) -> None:
    held = (await sandbox.charge("k1", capture=False)).body
    refund = {"charge_id": held["id"], "amount_minor": 1, "reference": "r"}
    refused = await sandbox.call("POST", "/v1/refunds", refund, key="refund")
    assert refused.body["error"]["code"] == "refund_exceeds_captured"
    await sandbox.call("POST", f"/v1/charges/{held['id']}/capture")
    again = await sandbox.call("POST", "/v1/refunds", refund, key="refund")
    assert (again.status, again.body, again.headers["Idempotency-Replayed"]) == (409, refused.body, "true")
    assert (await sandbox.call("POST", "/v1/refunds", refund, key="another")).status == 201


async def test_lists_page_oldest_first_and_filter(sandbox: Sandbox) -> None:
    made = [(await sandbox.charge(f"k{n}", reference="even" if n % 2 == 0 else "odd")).body["id"] for n in range(7)]
    first = (await sandbox.call("GET", "/v1/charges?limit=3")).body
    assert ([charge["id"] for charge in first["items"]], first["next_cursor"]) == (made[:3], made[2])
    rest = (await sandbox.call("GET", f"/v1/charges?limit=100&after={made[2]}")).body
    assert ([charge["id"] for charge in rest["items"]], rest["next_cursor"]) == (made[3:], None)
    exact = (await sandbox.call("GET", "/v1/charges?limit=7")).body
    assert exact["next_cursor"] is None
    assert [charge["id"] for charge in await sandbox.charges(reference="odd")] == made[1::2]
    assert [charge["id"] for charge in await sandbox.charges(idempotency_key="k4")] == [made[4]]
    for query in ("limit=0", "limit=1001", "limit=99999", "limit=x", "limit=-1", "after=ch_none"):
        assert (await sandbox.call("GET", f"/v1/charges?{query}")).status == 400


async def test_a_challenge_is_approved_on_its_page_and_then_confirmed(sandbox: Sandbox) -> None:
    waiting = (await sandbox.charge("k1", "pm_card_authenticationRequired")).body
    assert waiting["status"] == "requires_action"
    confirm = f"/v1/charges/{waiting['id']}/confirm"
    assert (await sandbox.call("POST", confirm)).body["next_action"] == waiting["next_action"]

    url = waiting["next_action"]["url"]
    async with aiohttp.ClientSession() as customer:
        async with customer.get(url) as page:
            assert page.status == 200
            assert "Approve" in await page.text()
            assert page.headers["Referrer-Policy"] == "no-referrer"
        for wrong in (url[:-1] + ("A" if url[-1] != "A" else "B"), url.split("?")[0]):
            async with customer.post(wrong, data={"decision": "approve"}) as refused:
                assert refused.status == 404
        async with customer.post(url, data={"decision": "perhaps"}) as refused:
            assert refused.status == 400
        async with customer.post(url, data={"decision": "approve"}) as page:
            assert "Payment approved" in await page.text()
        async with customer.post(url, data={"decision": "decline"}) as page:
            assert "Payment approved" in await page.text()

    ready = (await sandbox.call("GET", f"/v1/charges/{waiting['id']}")).body
    assert ready["status"] == "requires_confirmation"
    assert "next_action" not in ready
    for _ in range(2):
        confirmed = await sandbox.call("POST", confirm)
        assert (confirmed.status, confirmed.body["status"]) == (200, "succeeded")
    assert (await sandbox.charge("k1", "pm_card_authenticationRequired")).body == waiting


async def test_a_challenge_that_is_declined_fails_the_charge(sandbox: Sandbox) -> None:
    waiting = (await sandbox.charge("k1", "pm_card_authenticationRequired")).body
    url = urlsplit(waiting["next_action"]["url"])
    async with aiohttp.ClientSession() as customer:
        async with customer.post(url.geturl(), data={"decision": "decline"}) as page:
            assert "Payment declined" in await page.text()
    refused = await sandbox.call("POST", f"/v1/charges/{waiting['id']}/confirm")
    assert (refused.status, refused.body["error"]["code"]) == (402, "authentication_failed")


async def test_page_shows_text_as_text(sandbox: Sandbox) -> None:
    waiting = (await sandbox.charge("k1", "pm_card_authenticationRequired", reference="<script>x</script>")).body
    page = await sandbox.call("GET", waiting["next_action"]["url"].removeprefix(sandbox.url), api_key=None)
    assert "&lt;script&gt;" in page.body
    assert "<script>" not in page.body


async def test_an_outage_takes_all_but_control_and_livez_away(sandbox: Sandbox) -> None:
    charge = (await sandbox.charge("k1")).body
    conditions = await sandbox.call("POST", "/v1/_control", {"outage_s": 60})
    assert conditions.body["outage_left_s"] > 50
    away = await sandbox.charge("k2")
    assert (away.status, away.body["error"]["code"], away.headers["Retry-After"]) == (503, "outage", "1")
    assert (await sandbox.call("GET", f"/v1/charges/{charge['id']}")).status == 503
    assert (await sandbox.call("GET", "/livez", api_key=None)).status == 200

    await sandbox.call("POST", "/v1/_control", {"outage_mode": "silent"})
    with pytest.raises(TimeoutError):
        await sandbox.charge("k2", timeout_s=0.3)

    await sandbox.call("POST", "/v1/_control", {"outage_s": 0})
    assert await sandbox.charges(idempotency_key="k2") == []
    assert (await sandbox.charge("k2")).status == 201
    assert (await sandbox.call("POST", "/v1/_control", {"latency": 1})).status == 400


async def test_latency_is_as_set(sandbox: Sandbox) -> None:
    await sandbox.call("POST", "/v1/_control", {"latency_ms": 300})
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    assert (await sandbox.charge("k1")).status == 201
    assert loop.time() - started_s >= 0.3
