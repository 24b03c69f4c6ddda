"""The HTTP door of the stand-in: keys, idempotency, faults on the way, webhooks."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import hashlib
import hmac
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from tests.stripe_stand_in import API_KEY, WEBHOOK_SECRET
from tests.stripe_stand_in.books import ApiError, Books
from tests.stripe_stand_in.description import (
    NoSuchOperation,
    Operation,
    Refused,
    check_answer,
    check_object,
    find_operation,
    fixture,
    read_body,
    read_query,
    version,
)

Deliver = Callable[[Mapping[str, str], bytes], Awaitable[None]]


class Fault(StrEnum):
    """What happens to a request on its way. The first word says whether it took effect."""

    LOST = "nothing done, and the connection breaks"
    DONE_AND_CUT = "done, and the connection breaks before the answer"
    DONE_AND_HELD = "done, and no answer until `release`"
    HELD = "under way until `release`, then done"
    FAILED = "nothing done, 500, and the 500 is kept under the key"
    DONE_AND_FAILED = "done, 500, and the 500 is kept under the key"
    LIMITED = "nothing done, 429, and nothing is kept"
    LOCKED_OUT = "nothing done, 401"


class StripeStandIn:
    """One server on a free port. `faults` hit the next POSTs, in order; None lets one pass."""

    def __init__(self) -> None:
        self.port = 0
        self.books = Books(lambda: self.url)
        self.books.changed = self._changed
        self.faults: deque[Fault | None] = deque()
        self.requests: list[tuple[str, str, dict[str, Any], str | None]] = []
        self.wrong: list[str] = []
        self.events: list[dict[str, Any]] = []
        self.away = False
        self.deliver: Deliver | None = None
        self._kept: dict[str, tuple[Any, int, Any]] = {}
        self._under_way: set[str] = set()
        self._released = asyncio.Event()
        self._deliveries: set[asyncio.Task[None]] = set()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Base address of the API."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen."""
        app = web.Application()
        app.router.add_post("/bank/{intent}", self._bank)
        app.router.add_route("*", "/{path:.*}", self._enter)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]

    async def close(self) -> None:
        """Stop. Raises AssertionError: a request or an answer did not fit Stripe's description."""
        self.release()
        for task in list(self._deliveries):
            task.cancel()
        await asyncio.gather(*self._deliveries, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()
        assert self.wrong == []

    def release(self) -> None:
        """Let go of what is held."""
        self._released.set()
        self._released = asyncio.Event()

    def forget_keys(self) -> None:
        """A day later: keys are forgotten."""
        self._kept.clear()

    def posts(self, path: str = "/v1/payment_intents") -> list[dict[str, Any]]:
        """The parameters of the POSTs to a path so far."""
        return [given for method, at, given, _ in self.requests if (method, at) == ("POST", path)]

    async def _enter(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        if self.away:
            return _json(503, {"error": {"type": "api_error", "message": "Down."}})
        try:
            operation = find_operation(request.method, request.path)
        except NoSuchOperation as exc:
            self.wrong.append(f"no such operation: {exc}")
            return _json(404, {"error": {"type": "invalid_request_error", "message": "Unrecognized request URL."}})
        try:
            self._check_headers(request)
            given = self._read(operation, request, raw)
        except ApiError as exc:
            return self._answer(operation, exc.status, exc.body)
        except Refused as exc:
            self.wrong.append(f"{request.method} {request.path}: {exc}")
            return self._refusal(operation, exc)
        key = request.headers.get("idempotency-key")
        self.requests.append((request.method, request.path, given, key))
        if request.method == "GET":
            return self._answer(operation, *self._act(operation, given))
        return await self._post(request, operation, given, key)

    async def _post(
        self, request: web.Request, operation: Operation, given: dict[str, Any], key: str | None
    ) -> web.StreamResponse:
        fault = self.faults.popleft() if self.faults else None
        if fault is Fault.LOST:
            return _cut(request)
        if fault is Fault.LIMITED:
            return _json(429, {"error": {"type": "invalid_request_error", "code": "rate_limit", "message": "Slower."}})
        if fault is Fault.LOCKED_OUT:
            return _json(401, {"error": {"type": "invalid_request_error", "message": "Invalid API Key provided"}})
        if key is None:
            self.wrong.append(f"{request.path}: no idempotency key")
            return _json(400, {"error": {"type": "invalid_request_error", "message": "no key"}})
        parameters = (request.path, given)
        if key in self._under_way:
            body = {"error": {"type": "idempotency_error", "code": "idempotency_key_in_use", "message": "In use."}}
            return self._answer(operation, 409, body)
        if key in self._kept:
            before, status, body = self._kept[key]
            if before != parameters:
                body = {"error": {"type": "idempotency_error", "message": "Keys are for the same parameters only."}}
                return self._answer(operation, 400, body)
            return self._answer(operation, status, body, **{"Idempotent-Replayed": "true"})
        self._under_way.add(key)
        try:
            if fault is Fault.HELD:
                await self._released.wait()
            if fault is not Fault.FAILED:
                try:
                    status, body = self._act(operation, given)
                except Refused as exc:
                    # Refused before it began: nothing is kept.
                    return self._refusal(operation, exc)
            if fault in (Fault.FAILED, Fault.DONE_AND_FAILED):
                status, body = 500, {"error": {"type": "api_error", "message": "Something went wrong on our end."}}
            self._kept[key] = (copy.deepcopy(parameters), status, body)
        finally:
            self._under_way.discard(key)
        if fault is Fault.DONE_AND_CUT:
            return _cut(request)
        if fault is Fault.DONE_AND_HELD:
            await self._released.wait()
        return self._answer(operation, status, body)

    def _act(self, operation: Operation, given: dict[str, Any]) -> tuple[int, Any]:
        """Status and body, as they are now: later changes do not reach them."""
        books = self.books
        given = dict(given)
        expand = given.pop("expand", [])
        intent_id = operation.values.get("intent", "")
        try:
            match operation.method, operation.path:
                case "POST", "/v1/payment_intents":
                    body = books.expanded(books.create_intent(given), expand)
                case "GET", "/v1/payment_intents":
                    inside = [name.removeprefix("data.") for name in expand]
                    body = books.list_intents(given)
                    body = body | {"data": [books.expanded(each, inside) for each in body["data"]]}
                case "GET", "/v1/payment_intents/search":
                    body = books.search_intents(given)
                case "GET", "/v1/payment_intents/{intent}":
                    body = books.expanded(books.find_intent(intent_id), expand)
                case "POST", "/v1/payment_intents/{intent}/confirm":
                    body = books.expanded(books.confirm_intent(intent_id, given), expand)
                case "POST", "/v1/payment_intents/{intent}/capture":
                    body = books.expanded(books.capture_intent(intent_id, given), expand)
                case "POST", "/v1/payment_intents/{intent}/cancel":
                    body = books.expanded(books.cancel_intent(intent_id, given), expand)
                case "POST", "/v1/refunds":
                    body = books.create_refund(given)
                case "GET", "/v1/refunds":
                    body = books.list_refunds(given)
                case other:
                    raise NotImplementedError(other)
        except ApiError as exc:
            return exc.status, copy.deepcopy(exc.body)
        return 200, copy.deepcopy(body)

    def _answer(self, operation: Operation, status: int, body: Any, **headers: str) -> web.Response:
        try:
            check_answer(operation, status, body)
        except Exception as exc:
            self.wrong.append(f"answer {status} of {operation.path}: {exc}"[:500])
        return _json(status, body, **headers)

    def _refusal(self, operation: Operation, exc: Refused) -> web.Response:
        error = {"type": "invalid_request_error", "code": exc.code, "param": exc.param, "message": exc.message}
        return self._answer(operation, 400, {"error": error})

    def _check_headers(self, request: web.Request) -> None:
        if request.headers.get("authorization") != f"Bearer {API_KEY}":
            raise ApiError(401, "invalid_request_error", None, "Invalid API Key provided")
        if request.headers.get("stripe-version") != version():
            self.wrong.append(f"Stripe-Version: {request.headers.get('stripe-version')}, described is {version()}")

    def _read(self, operation: Operation, request: web.Request, raw: bytes) -> dict[str, Any]:
        query = parse_qsl(
            request.rel_url.raw_query_string, keep_blank_values=True, strict_parsing=bool(request.query_string)
        )
        if request.method == "GET":
            return read_query(operation, query)
        if request.content_type != "application/x-www-form-urlencoded":
            raise Refused("parameter_invalid", "content-type", request.content_type)
        return read_body(operation, parse_qsl(raw.decode(), keep_blank_values=True, strict_parsing=bool(raw)))

    async def _bank(self, request: web.Request) -> web.Response:
        form = await request.post()
        self.books.authenticate(request.match_info["intent"], approved=form["decision"] == "approve")
        return web.Response(text="thank you")

    def _changed(self, kind: str, about: dict[str, Any]) -> None:
        event = fixture("event") | {
            "id": f"evt_{len(self.events) + 1:06}",
            "type": kind,
            "api_version": version(),
            "created": int(time.time()),
            "data": {"object": copy.deepcopy(about)},
        }
        try:
            check_object("event", event)
            check_object(about["object"], about)
        except Exception as exc:
            self.wrong.append(f"event {kind}: {exc}"[:500])
        self.events.append(event)
        if self.deliver is not None:
            body = json.dumps(event, indent=2).encode()
            task = asyncio.get_running_loop().create_task(self._send(self.deliver, body))
            self._deliveries.add(task)
            task.add_done_callback(self._deliveries.discard)

    async def _send(self, deliver: Deliver, body: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            await deliver({"stripe-signature": sign(body)}, body)


def sign(body: bytes, *secrets: str, at: float | None = None) -> str:
    """The `Stripe-Signature` of a body: one `v1` a secret."""
    sent_at = int(time.time() if at is None else at)
    signed = str(sent_at).encode() + b"." + body
    signatures = [
        hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets or (WEBHOOK_SECRET,)
    ]
    return ",".join([f"t={sent_at}", *(f"v1={each}" for each in signatures)])


@contextlib.asynccontextmanager
async def open_stand_in() -> AsyncIterator[StripeStandIn]:
    """A started stand-in; on the way out it asserts that all it heard and said fits the description."""
    stand_in = StripeStandIn()
    await stand_in.start()
    try:
        yield stand_in
    finally:
        await stand_in.close()


def _json(status: int, body: Any, **headers: str) -> web.Response:
    headers |= {"Request-Id": "req_0123456789", "Stripe-Version": version()}
    return web.Response(status=status, text=json.dumps(body), content_type="application/json", headers=headers)


def _cut(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()
