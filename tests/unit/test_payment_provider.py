"""The sandbox adapter: which answer means what. What may have happened is never taken for what did not."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import msgspec
import pytest
from msgspec.structs import replace

from tradewind.chassis.errors import Invalid
from tradewind.chassis.third_party import Answer, NotSent, OutcomeUnknown, ThirdPartyClient
from tradewind.contracts.money import Money
from tradewind.services.payment.domain.charge import ChargeStatus
from tradewind.services.payment.domain.payment import Payment
from tradewind.services.payment.domain.refund import Refund
from tradewind.services.payment.domain.settlement import Attempt
from tradewind.services.payment.domain.work import ChargeWork, RefundWork
from tradewind.services.payment.providers import RequestRefused
from tradewind.services.payment.providers.sandbox import SandboxProvider

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = "whsec_0123456789abcdef"
CHARGE: dict[str, Any] = {
    "id": "ch_1",
    "status": "succeeded",
    "amount_minor": 1000,
    "amount_captured_minor": 1000,
    "amount_refunded_minor": 0,
    "currency": "EUR",
    "reference": "o",
    "created_at": "2026-01-01T00:00:00Z",
    "metadata": {},
}
REPAYMENT = {
    "id": "re_1",
    "charge_id": "ch_1",
    "status": "succeeded",
    "amount_minor": 5,
    "currency": "EUR",
    "reference": "r",
}
WORK = ChargeWork(
    payment=Payment(id="p", order_id="o", customer_id="c", amount=Money(1000, "EUR"), payment_method="pm_card_visa"),
    attempt=Attempt(id="a", payment_id="p"),
)
BACK = RefundWork(
    refund=Refund(id="r", payment_id="p", amount_minor=5, reason=""), charge_id="ch_1", amount=Money(5, "EUR")
)


class Line:
    """Gives prepared answers, and remembers what was asked."""

    def __init__(self, *answers: tuple[int, Any]) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[str, str, Any, str | None]] = []

    async def call(
        self, method: str, path: str, *, body: bytes | None, headers: dict[str, str], timeout_s: float
    ) -> Answer:
        assert timeout_s == 2.5
        self.asked.append((method, path, msgspec.json.decode(body) if body else None, headers.get("idempotency-key")))
        status, content = self._answers.pop(0)
        return Answer(status, {}, content if isinstance(content, bytes) else msgspec.json.encode(content))


def provider(*answers: tuple[int, Any]) -> tuple[SandboxProvider, Line]:
    line = Line(*answers)
    return SandboxProvider(cast("ThirdPartyClient", line), webhook_secret=SECRET, timeout_s=2.5), line


def error(code: str, kind: str = "invalid_request_error", **more: Any) -> dict[str, Any]:
    return {"error": {"type": kind, "code": code, "message": "", **more}}


async def test_a_charge_has_the_attempts_key_and_the_orders_reference() -> None:
    psp, line = provider((201, CHARGE))
    charge = await psp.charge(WORK)
    assert (charge.id, charge.status, charge.captured_minor) == ("ch_1", ChargeStatus.SUCCEEDED, 1000)
    ((method, path, body, key),) = line.asked
    assert (method, path, key) == ("POST", "/v1/charges", "a")
    assert (body["amount_minor"], body["currency"], body["reference"]) == (1000, "EUR", "o")
    assert body["capture"] is True
    assert body["metadata"] == {"attempt_id": "a", "payment_id": "p"}


async def test_a_decline_is_an_answer() -> None:
    declined = CHARGE | {"status": "failed", "failure_code": "card_declined", "amount_captured_minor": 0}
    psp, _ = provider((402, error("card_declined", "card_error", charge=declined)))
    charge = await psp.charge(WORK)
    assert (charge.status, charge.code) == (ChargeStatus.FAILED, "card_declined")


@pytest.mark.parametrize(
    ("status", "content", "expected"),
    [
        (400, error("payment_method_unknown"), RequestRefused),
        (401, error("api_key_invalid", "authentication_error"), NotSent),
        (403, error("forbidden"), NotSent),
        (429, error("slow_down"), NotSent),
        (409, error("idempotency_key_reused", "idempotency_error"), OutcomeUnknown),
        (500, error("internal", "api_error"), OutcomeUnknown),
        (503, b"<html>", OutcomeUnknown),
        (201, b"<html>", OutcomeUnknown),
        (201, {"id": "ch_1"}, OutcomeUnknown),
        (400, b"<html>", OutcomeUnknown),
        (402, error("card_declined", "card_error"), OutcomeUnknown),
    ],
)
async def test_what_other_answers_mean(status: int, content: Any, expected: type[Exception]) -> None:
    with pytest.raises(expected):
        await provider((status, content))[0].charge(WORK)


async def test_a_word_we_do_not_know() -> None:
    assert (await provider((201, CHARGE | {"status": "on_hold"}))[0].charge(WORK)).status is ChargeStatus.OTHER


async def test_finding_by_key() -> None:
    psp, line = provider((200, {"items": [CHARGE], "next_cursor": None}), (200, {"items": []}), (404, error("x")))
    found = await psp.find_charge(WORK)
    assert found is not None
    assert found.id == "ch_1"
    assert line.asked[0][:2] == ("GET", "/v1/charges?idempotency_key=a")
    assert await psp.find_charge(WORK) is None
    with pytest.raises(OutcomeUnknown):
        await psp.find_charge(WORK)


@pytest.mark.parametrize("verb", ["confirm", "void"])
async def test_a_move_it_does_not_allow_is_answered_by_where_it_is(verb: str) -> None:
    psp, line = provider((409, error("charge_not_cancellable")), (200, CHARGE))
    assert (await getattr(psp, verb)("ch/1")).status is ChargeStatus.SUCCEEDED
    assert line.asked[1][:2] == ("GET", "/v1/charges/ch%2F1")


async def test_what_is_held_is_captured_whole() -> None:
    held = CHARGE | {"status": "authorized", "amount_captured_minor": 0}
    psp, line = provider((201, held), (200, CHARGE), (409, error("charge_not_capturable")), (200, CHARGE))
    charge = await psp.charge(replace(WORK, attempt=replace(WORK.attempt, capture=False)))
    assert line.asked[0][2]["capture"] is False
    assert (charge.status, charge.authorized_minor, charge.captured_minor) == (ChargeStatus.AUTHORIZED, 1000, 0)
    taken = await psp.capture(charge, "a")
    assert (taken.status, taken.authorized_minor, taken.captured_minor) == (ChargeStatus.SUCCEEDED, 1000, 1000)
    assert line.asked[1][:3] == ("POST", "/v1/charges/ch_1/capture", {"amount_minor": 1000})
    assert await psp.capture(charge, "a") == taken
    assert line.asked[3][:2] == ("GET", "/v1/charges/ch_1")


async def test_undoing_lets_go_of_what_is_only_held() -> None:
    held = CHARGE | {"status": "authorized", "amount_captured_minor": 0}
    psp, line = provider((201, held), (200, held | {"status": "cancelled"}))
    assert (await psp.undo(await psp.charge(WORK), "a")).status is ChargeStatus.CANCELLED
    assert line.asked[1][:2] == ("POST", "/v1/charges/ch_1/cancel")


async def test_undoing_gives_back_what_is_left() -> None:
    wrong = CHARGE | {"amount_refunded_minor": 400}
    none: tuple[int, Any] = (200, {"items": []})
    psp, line = provider((201, wrong), none, (201, REPAYMENT), (200, wrong | {"amount_refunded_minor": 1000}))
    charge = await psp.charge(WORK)
    assert (await psp.undo(charge, "a")).refunded_minor == 1000
    assert line.asked[2][2] == {"charge_id": "ch_1", "amount_minor": 600, "reference": "undo a"}
    assert line.asked[2][3] == "undo:ch_1:600"


async def test_undoing_is_asked_for_anew_only_after_it_failed() -> None:
    pending, failed = REPAYMENT | {"status": "pending"}, REPAYMENT | {"status": "failed"}
    pages = [(200, {"items": [failed], "next_cursor": "re_1"}), (200, {"items": [pending]})]
    psp, line = provider((201, CHARGE), *pages, (201, REPAYMENT), (200, CHARGE))
    await psp.undo(await psp.charge(WORK), "a")
    assert line.asked[2][1].endswith("&after=re_1")
    assert line.asked[3][3] == "undo:ch_1:1000:1"


async def test_a_refund_has_its_own_key() -> None:
    psp, line = provider((201, REPAYMENT), (409, error("refund_exceeds_captured")), (200, {"items": [REPAYMENT]}))
    repayment = await psp.refund(BACK)
    assert (repayment.succeeded, repayment.amount) == (True, Money(5, "EUR"))
    assert line.asked[0][3] == "r"
    with pytest.raises(RequestRefused, match="refund_exceeds_captured"):
        await psp.refund(BACK)
    assert await psp.find_refund(BACK) == repayment
    assert line.asked[2][1] == "/v1/refunds?charge_id=ch_1&reference=r&limit=100"


def signed(body: bytes, at: datetime, secret: str = SECRET) -> dict[str, str]:
    stamp = str(int(at.timestamp()))
    digest = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    return {"sandbox-signature": f"t={stamp},v1={digest}"}


ID = "01890000-0000-7000-8000-000000000000"


@pytest.mark.parametrize(
    ("type_", "about", "attempt_id", "refund_id"),
    [
        ("charge.succeeded", {"reference": "o", "metadata": {"attempt_id": ID}}, ID, None),
        ("charge.succeeded", {"reference": "o", "metadata": {"attempt_id": "x'; DROP TABLE"}}, None, None),
        ("charge.succeeded", {}, None, None),
        ("refund.succeeded", {"reference": ID}, None, ID),
        ("refund.succeeded", {"reference": "undo a"}, None, None),
    ],
)
def test_a_notice_says_what_it_is_about(type_: str, about: Any, attempt_id: str | None, refund_id: str | None) -> None:
    body = msgspec.json.encode({"id": "evt_1", "type": type_, "data": {"object": about}})
    notice = provider()[0].read_notice(signed(body, NOW), body, NOW)
    assert (notice.event_id, notice.attempt_id, notice.refund_id) == ("evt_1", attempt_id, refund_id)


@pytest.mark.parametrize("name", ["", "a\0b", "a b", "evt_1\n", "x" * 256, 5])
def test_a_notice_has_a_name_that_can_be_kept(name: object) -> None:
    body = msgspec.json.encode({"id": name, "type": "x", "data": {"object": {}}})
    with pytest.raises(Invalid, match="malformed-json"):
        provider()[0].read_notice(signed(body, NOW), body, NOW)


@pytest.mark.parametrize("age_s", [-301, 301])
def test_an_old_notice_or_one_from_the_future_is_refused(age_s: int) -> None:
    body = msgspec.json.encode({"id": "evt_1", "type": "x", "data": {"object": {}}})
    headers = signed(body, NOW - timedelta(seconds=age_s))
    with pytest.raises(Invalid, match="signature-invalid"):
        provider()[0].read_notice(headers, body, NOW)
    near = signed(body, NOW - timedelta(seconds=age_s // 2))
    assert provider()[0].read_notice(near, body, NOW).event_id == "evt_1"


@pytest.mark.parametrize(
    "header",
    ["", "t=,v1=00", "t=x,v1=00", f"t={'9' * 400},v1=00", "t=1767225600", "t=1767225600,v1=é", "=,=", "," * 999],
)
def test_a_signature_that_nobody_made_is_refused(header: str) -> None:
    with pytest.raises(Invalid, match="signature-invalid"):
        provider()[0].read_notice({"sandbox-signature": header}, b"{}", NOW)
