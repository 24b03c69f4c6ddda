"""Webhooks: signed, fresh, each once, and no more than a reason to ask."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest_asyncio

from tests.asgi import Response, call
from tests.conftest import RoomDatabase
from tests.integration.payment_fixtures import Till, eventually, new_order, open_till, provider_and_database
from tests.integration.served_room import bound, listening
from tests.sandbox_process import WEBHOOK_SECRET
from tradewind.chassis.ids import new_id
from tradewind.services.payment.domain.charge import Charge
from tradewind.services.payment.domain.work import ChargeWork
from tradewind.services.payment.providers import Provider

PATH = "/v1/payments/webhooks/sandbox"


@pytest_asyncio.fixture
async def till(room_database: RoomDatabase, tmp_path: Path) -> AsyncIterator[Till]:
    async with provider_and_database(room_database, tmp_path) as (access, sandbox):
        async with open_till(access, sandbox) as till:
            yield till


def event(attempt_id: str = "", event_id: str | None = None) -> bytes:
    """A webhook about an attempt."""
    body = {
        "id": event_id or f"evt_{new_id()}",
        "type": "charge.succeeded",
        "created_at": "2026-01-01T00:00:00Z",
        "data": {
            "object": {"id": "ch_1", "reference": "r", "metadata": {"attempt_id": attempt_id}, "status": "succeeded"}
        },
    }
    return msgspec.json.encode(body)


def signed(body: bytes, *, at_s: float | None = None, secret: str = WEBHOOK_SECRET) -> str:
    """The header for a body."""
    sent_at = int(time.time() if at_s is None else at_s)
    digest = hmac.new(secret.encode(), b"%d." % sent_at + body, hashlib.sha256).hexdigest()
    return f"t={sent_at},v1={digest}"


async def send(till: Till, body: bytes, signature: str | None, path: str = PATH) -> Response:
    headers = {} if signature is None else {"sandbox-signature": signature}
    return await call(till.app, "POST", path, body=body, headers=headers)


async def known(till: Till) -> int:
    return int(await till.database.value("SELECT count(*) FROM webhook_event"))


async def test_a_good_one_is_taken_without_a_token(till: Till) -> None:
    body = event()
    assert (await send(till, body, signed(body))).status == 200
    assert await known(till) == 1


async def test_one_of_several_signatures_will_do(till: Till) -> None:
    body = event()
    stamp, good = signed(body).split(",")
    assert (await send(till, body, f"{stamp},v1={'0' * 64},{good}")).status == 200


async def test_a_bad_signature_is_400(till: Till) -> None:
    for signature in (
        None,
        "",
        "nonsense",
        "t=,v1=",
        "v1=" + "0" * 64,
        "t=99999999999999999999,v1=00",
        "t=1,v1=é",
        "t=" + "1" * 5_000,
    ):
        answer = await send(till, event(), signature)
        assert (answer.status, answer.json["code"]) == (400, "signature-invalid")
    assert await known(till) == 0


async def test_the_signature_is_over_these_bytes_with_this_secret_and_fresh(till: Till) -> None:
    body = event()
    now_s = time.time()
    for wrong in (
        signed(body + b" "),
        signed(body, secret="whsec_of_somebody_else"),
        signed(body, at_s=now_s - 301),
        signed(body, at_s=now_s + 301),
    ):
        assert (await send(till, body, wrong)).json["code"] == "signature-invalid"
    for late in (signed(body, at_s=now_s - 295), signed(body, at_s=now_s + 295)):
        assert (await send(till, body, late)).status == 200
    assert await known(till) == 1


async def test_what_is_signed_and_no_event_is_400(till: Till) -> None:
    for body in (b"", b"[]", b"{", b'{"id": 1}', b"\xff"):
        assert (await send(till, body, signed(body))).json["code"] == "malformed-json"


async def test_an_unknown_provider_is_404(till: Till) -> None:
    body = event()
    answer = await send(till, body, signed(body), "/v1/payments/webhooks/stripe")
    assert (answer.status, answer.json["code"]) == (404, "provider-not-found")


async def test_a_forged_success_captures_nothing(till: Till) -> None:
    """The signature is right, the content is not: only the provider's answer to our question counts."""
    order = new_order("pm_card_authenticationRequired")
    await till.place(order)
    await till.until(order, "requires_action")
    attempt_id = await till.database.value("SELECT id::text FROM attempt WHERE payment_id = $1", order.payment_id)
    body = event(attempt_id)
    await send(till, body, signed(body))

    async def asked() -> bool:
        sql = "SELECT looks > 0 AND due_at IS NULL FROM attempt WHERE id = $1"
        return bool(await till.database.value(sql, attempt_id))

    await eventually(asked)
    assert (await till.see(order))["status"] == "requires_action"
    assert await till.told(order) == ["requires_action"]


async def test_it_makes_an_unknown_outcome_known_sooner(till: Till) -> None:
    order = new_order("pm_sandbox_timeout_charged")
    started_s = time.monotonic()
    await till.place(order)

    async def charged() -> bool:
        return bool(await till.charges(order))

    await eventually(charged)
    attempt_id = await till.database.value("SELECT id::text FROM attempt WHERE payment_id = $1", order.payment_id)
    body = event(attempt_id)
    for _ in range(3):
        assert (await send(till, body, signed(body))).status == 200
    await till.until(order, "captured")
    assert time.monotonic() - started_s < 2.4  # the call itself has not timed out yet
    assert await till.told(order) == ["captured"]
    assert await known(till) == 1


async def test_the_providers_own_webhooks_late_double_and_out_of_order(
    room_database: RoomDatabase, tmp_path: Path
) -> None:
    sock, url = bound()
    weather = {"WEBHOOK_URL": url + PATH, "WEBHOOK_DOUBLE_PERCENT": "100", "WEBHOOK_SHUFFLE": "true"}
    async with provider_and_database(room_database, tmp_path, **weather) as (access, sandbox):
        async with open_till(access, sandbox) as till, listening(till.app, sock):
            orders = [new_order() for _ in range(20)]
            await till.place(*orders)
            for order in orders:
                await till.until(order, "captured")
            await till.refund(orders[0])
            await till.until(orders[0], "refunded")

            async def delivered() -> bool:
                state = await sandbox.call("GET", "/v1/_control")
                return bool(state.body["webhooks_pending"] == 0)

            await eventually(delivered)
            assert await known(till) == 21
            assert [await till.told(order) for order in orders[1:]] == [["captured"]] * 19
            assert await till.told(orders[0]) == ["captured", "refunded"]
            await till.check_books()


class Overtaken:
    """The real provider, whose customers decline a challenge, and whose webhook about that is there, before its answer is."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self.till: Till | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._provider, name)

    async def charge(self, work: ChargeWork) -> Charge:
        asked = await self._provider.charge(work)
        till = self.till
        assert asked.action_url is not None
        assert till is not None
        path = asked.action_url.removeprefix(till.sandbox.url)
        await till.sandbox.call("POST", path, b"decision=decline", api_key=None)
        body = event(work.attempt.id)
        assert (await send(till, body, signed(body))).status == 200
        return asked


async def test_a_challenge_declined_before_it_is_written_down_ends_at_once(
    room_database: RoomDatabase, tmp_path: Path
) -> None:
    """Nobody confirms it: what the provider said while we were asking is all there is to go by."""
    made: list[Overtaken] = []

    def overtaken(provider: Provider) -> Provider:
        made.append(Overtaken(provider))
        return made[0]  # type: ignore[return-value]

    async with provider_and_database(room_database, tmp_path) as (access, sandbox):
        async with open_till(access, sandbox, wrap=overtaken) as till:
            made[0].till = till
            order = new_order("pm_card_authenticationRequired")
            await till.place(order)
            assert (await till.until(order, "failed"))["code"] == "authentication_failed"
            assert await till.told(order) in (["requires_action", "failed"], ["failed"])


async def test_one_that_comes_while_its_payment_is_being_written_down_is_not_lost(till: Till) -> None:
    await till.charger_off()
    order = new_order()
    await till.place(order)
    attempt_id = await till.database.value("SELECT id::text FROM attempt WHERE payment_id = $1", order.payment_id)
    body = event(attempt_id)
    async with till.database.transaction() as tx:
        await tx.rows("SELECT FROM payment WHERE id = $1 FOR UPDATE", order.payment_id)
        await tx.execute("UPDATE attempt SET status = 'requires_action', due_at = NULL WHERE id = $1", attempt_id)
        sending = asyncio.create_task(send(till, body, signed(body)))
        assert await eventually(lambda: _waits_for_a_lock(till))
        assert not sending.done()
    assert (await sending).status == 200
    assert await till.database.value("SELECT due_at IS NOT NULL OR looks > 0 FROM attempt WHERE id = $1", attempt_id)


async def _waits_for_a_lock(till: Till) -> bool:
    sql = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    return bool(await till.database.value(sql))


async def test_many_about_payments_that_are_being_written_down_lock_nobody_out(till: Till) -> None:
    """Webhooks and what they are about arrive together, for many orders, over and over."""
    orders = [new_order() for _ in range(40)]
    await till.place(*orders)
    rows = await till.database.rows("SELECT id::text FROM attempt ORDER BY random()")

    async def tell(attempt_id: str) -> int:
        body = event(attempt_id)
        return (await send(till, body, signed(body))).status

    statuses = await asyncio.gather(*(tell(row["id"]) for row in rows for _ in range(3)))
    assert set(statuses) == {200}
    for order in orders:
        await till.until(order, "captured")
        assert await till.told(order) == ["captured"]
    await till.check_books()
