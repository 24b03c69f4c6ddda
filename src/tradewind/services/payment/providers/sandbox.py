"""The sandbox provider (`python -m tradewind.sandbox`), through its public API only."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from tradewind.chassis.breaker import State
from tradewind.chassis.errors import Invalid
from tradewind.chassis.ids import is_id
from tradewind.chassis.logs import get_logger
from tradewind.chassis.third_party import Answer, NotSent, OutcomeUnknown, ThirdPartyClient
from tradewind.services.payment.domain.charge import Charge, ChargeStatus, Listed, Repayment
from tradewind.services.payment.domain.refund import refund_of
from tradewind.services.payment.domain.work import ChargeWork, Notice, RefundWork
from tradewind.services.payment.providers import Holding, RequestRefused, key_of_undo
from tradewind.services.payment.providers.sandbox_wire import (
    Balance,
    Charges,
    ErrorBody,
    Refunds,
    WireCharge,
    WireNotice,
    WireRefund,
)
from tradewind.services.payment.providers.signature import check_signature, invalid_signature

SIGNATURE_HEADER = "sandbox-signature"
ATTEMPT = "attempt_id"
PAGE = 100
T = TypeVar("T")
_log = get_logger(__name__)


class SandboxProvider:
    """A `Provider`. The idempotency key of a charge is the attempt's id, its reference the order's."""

    name = "sandbox"

    def __init__(self, client: ThirdPartyClient, *, webhook_secret: str, timeout_s: float) -> None:
        """`client` carries the address and the API key; each call may take `timeout_s`.

        `webhook_secret` may be several, by commas: a webhook signed with any of them is believed.
        """
        self._client = client
        self._webhook_secrets = webhook_secret.split(",")
        self._timeout_s = timeout_s

    @property
    def answers(self) -> bool:
        return self._client.state is State.CLOSED

    async def charge(self, work: ChargeWork) -> Charge:
        payment = work.payment
        body = {
            "amount_minor": payment.amount.amount_minor,
            "currency": payment.amount.currency,
            "payment_method": payment.payment_method,
            "reference": payment.order_id,
            "capture": work.capture,
            "metadata": {ATTEMPT: work.attempt.id, "payment_id": payment.id},
        }
        return await self._charge("POST", "/v1/charges", body, key=work.attempt.id)

    async def find_charge(self, work: ChargeWork) -> Charge | None:
        found = await self._get(f"/v1/charges?{urlencode({'idempotency_key': work.attempt.id})}", Charges)
        return found.items[0].charge() if found.items else None

    async def capture(self, charge: Charge, attempt_id: str) -> Charge:  # noqa: ARG002 - needs no key: repeating it is harmless
        return await self._move(charge.id, "capture", {"amount_minor": charge.authorized_minor})

    async def confirm(self, charge_id: str) -> Charge:
        return await self._move(charge_id, "confirm")

    async def void(self, charge_id: str) -> Charge:
        return await self._move(charge_id, "cancel")

    async def undo(self, charge: Charge, attempt_id: str) -> Charge:
        if charge.status is not ChargeStatus.SUCCEEDED:
            return await self.void(charge.id)
        left_minor = charge.captured_minor - charge.refunded_minor
        reference = f"undo {attempt_id}"
        body = {"charge_id": charge.id, "amount_minor": left_minor, "reference": reference}
        with contextlib.suppress(RequestRefused):
            before = [each async for each in self._refunds(charge.id, reference)]
            await self._send("POST", "/v1/refunds", body, key=key_of_undo(charge.id, left_minor, before))
        return await self._get_charge(charge.id)

    async def refund(self, work: RefundWork) -> Repayment:
        body = {
            "charge_id": work.charge_id,
            "amount_minor": work.amount.amount_minor,
            "reference": work.refund.key,
        }
        answer = await self._send("POST", "/v1/refunds", body, key=work.refund.key)
        return self._decode(answer, WireRefund).repayment()

    async def find_refund(self, work: RefundWork) -> Repayment | None:
        async for found in self._refunds(work.charge_id, work.refund.key):
            return found
        return None

    async def holdings(self) -> Sequence[Holding]:
        balance = await self._get("/v1/balance", Balance)
        return [
            Holding(currency=item.currency, captured_minor=item.captured_minor, refunded_minor=item.refunded_minor)
            for item in balance.items
        ]

    async def list_charges(self, since: datetime) -> AsyncIterator[Listed]:
        after = ""
        while True:
            page = await self._get(f"/v1/charges?limit={PAGE}{after}", Charges)
            for item in page.items:
                if item.created_at >= since:
                    yield Listed(charge=item.charge(), attempt_id=item.metadata.get(ATTEMPT, ""))
            if page.next_cursor is None:
                return
            after = f"&after={quote(page.next_cursor, safe='')}"

    def _require_signed(self, header: str | None, body: bytes, now: datetime) -> None:
        for secret in self._webhook_secrets:
            with contextlib.suppress(Invalid):
                return check_signature(secret, header, body, now)
        raise invalid_signature()

    def read_notice(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Notice:
        self._require_signed(headers.get(SIGNATURE_HEADER), body, now)
        try:
            notice = msgspec.json.decode(body, type=WireNotice)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise Invalid("malformed-json", "The body is not an event.", status=400) from exc
        about = notice.data.object
        attempt_id = about.metadata.get(ATTEMPT, "")
        about_refund = notice.type.startswith("refund.")
        refund_id = refund_of(about.reference)
        return Notice(
            event_id=notice.id,
            type=notice.type,
            attempt_id=attempt_id if is_id(attempt_id) and not about_refund else None,
            refund_id=refund_id if is_id(refund_id) and about_refund else None,
        )

    async def close(self) -> None:
        await self._client.close()

    async def _move(self, charge_id: str, verb: str, body: dict[str, Any] | None = None) -> Charge:
        try:
            return await self._charge("POST", f"/v1/charges/{quote(charge_id, safe='')}/{verb}", body or {})
        except RequestRefused:
            # It has moved on by itself: then where it is now is the answer.
            return await self._get_charge(charge_id)

    async def _refunds(self, charge_id: str, reference: str) -> AsyncIterator[Repayment]:
        """What was given back of a charge under a reference, oldest first."""
        query = {"charge_id": charge_id, "reference": reference, "limit": str(PAGE)}
        while True:
            page = await self._get(f"/v1/refunds?{urlencode(query)}", Refunds)
            for refund in page.items:
                yield refund.repayment()
            if page.next_cursor is None:
                return
            query["after"] = page.next_cursor

    async def _get_charge(self, charge_id: str) -> Charge:
        return (await self._get(f"/v1/charges/{quote(charge_id, safe='')}", WireCharge)).charge()

    async def _charge(self, method: str, path: str, body: dict[str, Any], *, key: str | None = None) -> Charge:
        answer = await self._send(method, path, body, key=key, declines=True)
        if answer.status == 402:
            declined = self._decode(answer, ErrorBody).error.charge
            if declined is None:
                raise OutcomeUnknown("provider-outcome-unknown", "A decline came without its charge.")
            return declined.charge()
        return self._decode(answer, WireCharge).charge()

    async def _get(self, path: str, kind: type[T]) -> T:
        try:
            return self._decode(await self._send("GET", path, None), kind)
        except RequestRefused as exc:
            raise OutcomeUnknown("provider-outcome-unknown", f"The provider answered {exc.code}.") from exc

    async def _send(
        self, method: str, path: str, body: dict[str, Any] | None, *, key: str | None = None, declines: bool = False
    ) -> Answer:
        """An answer that says something: 2xx, or 402 where a decline is one.

        Raises:
            RequestRefused: 400, 404, 409 and their like: the provider did nothing.
            NotSent: it has not looked at the request: 401, 403 or 429.
            OutcomeUnknown: 5xx, an answer nobody can read, or that the key was used before, for who knows what.
        """
        headers = {"content-type": "application/json"} | ({"idempotency-key": key} if key else {})
        encoded = None if body is None else msgspec.json.encode(body)
        answer = await self._client.call(method, path, body=encoded, headers=headers, timeout_s=self._timeout_s)
        if answer.status < 300 or (declines and answer.status == 402):
            return answer
        if answer.status >= 500:
            raise OutcomeUnknown("provider-outcome-unknown", f"The provider answered {answer.status}.")
        error = self._decode(answer, ErrorBody).error
        _log.warning("the provider refused", path=path, status=answer.status, code=error.code)
        if answer.status in (401, 403, 429):
            raise NotSent("provider-unavailable", f"The provider answered {answer.status} {error.code}.")
        if error.type == "idempotency_error":
            raise OutcomeUnknown("provider-outcome-unknown", f"The provider answered {error.code}.")
        raise RequestRefused(error.code)

    def _decode(self, answer: Answer, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            _log.error("the provider's answer cannot be read", status=answer.status, error=str(exc))
            raise OutcomeUnknown("provider-outcome-unknown", "The provider's answer cannot be read.") from exc
