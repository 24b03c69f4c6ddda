"""The HTTP door: parse, call one use case, render. Every route goes through `_Door`: keys, outages, errors."""

from __future__ import annotations

import asyncio
import hmac
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import parse_qs

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from tradewind.chassis.errors import Invalid, NotFound, Problem, Unauthenticated, Unavailable
from tradewind.chassis.logs import get_logger
from tradewind.sandbox import refunds, usecases
from tradewind.sandbox.challenge import PAGE_HEADERS, challenge_page, missing_page
from tradewind.sandbox.conditions import Control, OutageMode
from tradewind.sandbox.methods import Reply
from tradewind.sandbox.parts import Parts
from tradewind.sandbox.replies import Reset, Silence
from tradewind.sandbox.script import AnyRule, On
from tradewind.sandbox.staging import Act, play
from tradewind.sandbox.store import Answer
from tradewind.sandbox.wire import (
    CaptureCharge,
    CreateCharge,
    CreateRefund,
    ErrorBody,
    ErrorDetail,
    decode_body,
    error_body,
)

BODY_BYTES_MAX = 64 * 1024
KEY_LENGTH_MAX = 255
PAGE_SIZE = 20
PAGE_SIZE_MAX = 1_000
JSON = "application/json"

Handler = Callable[["Api", Request], Awaitable[Response]]
log = get_logger(__name__)


class Api:
    """What the doors share: the parts, the key they open to, and whether the process is stopping."""

    def __init__(self, parts: Parts, api_keys: Sequence[str], stopping: asyncio.Event) -> None:
        self.parts = parts
        self.stopping = stopping
        self._authorizations = [f"Bearer {api_key}".encode() for api_key in api_keys]

    def starlette(self) -> Starlette:
        """The ASGI application."""
        routes = [
            Route(path, _Door(self, path, handler, keyed=keyed, outages=outages).enter, methods=[method])
            for method, path, handler, keyed, outages in _ROUTES
        ]
        return Starlette(routes=routes, exception_handlers={HTTPException: _unroutable})

    def admits(self, request: Request) -> bool:
        """Whether the request carries the API key."""
        given = request.headers.get("authorization", "").encode()
        return any(hmac.compare_digest(given, known) for known in self._authorizations)


class _Door:
    """One route's endpoint: the key, the outage, the handler, the rendering of errors, a log line."""

    def __init__(self, api: Api, path: str, handler: Handler, *, keyed: bool, outages: bool) -> None:
        self._api = api
        self._path = path
        self._handler = handler
        self._keyed = keyed
        self._outages = outages

    async def enter(self, request: Request) -> Response:
        """Answer the request, whatever becomes of it."""
        clock = self._api.parts.clock
        started_s = clock.monotonic_s()
        try:
            response = await self._answer(request)
        except Problem as problem:
            response = _error(problem)
        except sqlite3.Error as exc:
            log.error("store failed", error=str(exc))
            response = _error(Unavailable("storage_unavailable", "The store failed.", retry_after_s=1))
        except Exception:
            log.exception("request failed")
            response = _internal_error()
        write = log.debug if request.method == "GET" else log.info
        write(
            "request",
            method=request.method,
            path=self._path,
            status=None if isinstance(response, Reset) else response.status_code,
            duration_ms=round((clock.monotonic_s() - started_s) * 1000, 1),
        )
        return response

    async def _answer(self, request: Request) -> Response:
        if self._keyed and not self._api.admits(request):
            raise Unauthenticated("api_key_invalid", "No valid API key.", headers={"WWW-Authenticate": "Bearer"})
        conditions = self._api.parts.conditions
        if self._outages and conditions.outage_left_s:
            if conditions.outage_mode is OutageMode.SILENT:
                return Silence(self._api.stopping)
            raise Unavailable("outage", "The provider is away.", retry_after_s=1)
        return await self._handler(self._api, request)


async def create_charge(api: Api, request: Request) -> Response:
    """POST /v1/charges: 201, 402, or what script and payment method make of the way back."""
    key = _idempotency_key(request)
    body = decode_body(await _body(request), CreateCharge)
    rule = api.parts.conditions.playbook.rule(On.CHARGE, body.reference)
    if rule is not None:
        return await _staged(api, rule, lambda: usecases.create_charge_by_rule(api.parts, key, body, rule))
    reply, answer = await usecases.create_charge(api.parts, key, body)
    if reply is Reply.SILENCE:
        return Silence(api.stopping)
    if reply is Reply.RESET:
        return Reset()
    if reply is Reply.ERROR or answer is None:
        return _internal_error()
    return _answered(answer)


async def list_charges(api: Api, request: Request) -> Response:
    """GET /v1/charges."""
    query = request.query_params
    page = await usecases.list_charges(
        api.parts,
        limit=_limit(request),
        after=query.get("after"),
        reference=query.get("reference"),
        idempotency_key=query.get("idempotency_key"),
    )
    return _json(page)


async def get_charge(api: Api, request: Request) -> Response:
    """GET /v1/charges/{charge_id}."""
    return _json(await usecases.get_charge(api.parts, request.path_params["charge_id"]))


async def capture_charge(api: Api, request: Request) -> Response:
    """POST /v1/charges/{charge_id}/capture."""
    body = decode_body(await _body(request), CaptureCharge)
    charge_id = request.path_params["charge_id"]
    rule = await _rule(api, On.CAPTURE, charge_id)
    return await _staged(api, rule, lambda: usecases.capture_charge(api.parts, charge_id, body.amount_minor, rule))


async def confirm_charge(api: Api, request: Request) -> Response:
    """POST /v1/charges/{charge_id}/confirm."""
    charge_id = request.path_params["charge_id"]
    rule = await _rule(api, On.CONFIRM, charge_id)
    return await _staged(api, rule, lambda: usecases.confirm_charge(api.parts, charge_id))


async def cancel_charge(api: Api, request: Request) -> Response:
    """POST /v1/charges/{charge_id}/cancel."""
    charge_id = request.path_params["charge_id"]
    rule = await _rule(api, On.CANCEL, charge_id)
    return await _staged(api, rule, lambda: usecases.cancel_charge(api.parts, charge_id))


async def create_refund(api: Api, request: Request) -> Response:
    """POST /v1/refunds: 201, or 409 when too much is asked back."""
    key = _idempotency_key(request)
    body = decode_body(await _body(request), CreateRefund)
    rule = await _rule(api, On.REFUND, body.charge_id)
    return await _staged(api, rule, lambda: refunds.create_refund(api.parts, key, body, rule))


async def _rule(api: Api, on: On, charge_id: str) -> AnyRule | None:
    """The rule that hits this call."""
    playbook = api.parts.conditions.playbook
    if not playbook.plays(on):
        return None
    return playbook.rule(on, await usecases.reference_of(api.parts, charge_id))


async def _staged(api: Api, rule: AnyRule | None, act: Act) -> Response:
    """The answer of `act`, as far as `rule` lets it through."""
    if rule is None:
        return _answered(await act())
    log.info("script plays", on=rule.on, do=type(rule).__struct_config__.tag)
    played = await play(rule, act, api.stopping)
    return played if isinstance(played, Response) else _answered(played)


async def list_refunds(api: Api, request: Request) -> Response:
    """GET /v1/refunds."""
    query = request.query_params
    page = await usecases.list_refunds(
        api.parts,
        limit=_limit(request),
        after=query.get("after"),
        charge_id=query.get("charge_id"),
        reference=query.get("reference"),
    )
    return _json(page)


async def get_balance(api: Api, _request: Request) -> Response:
    """GET /v1/balance."""
    return _json(await usecases.get_balance(api.parts))


async def control(api: Api, request: Request) -> Response:
    """GET and POST /v1/_control: an empty body changes nothing."""
    return _json(await usecases.change_conditions(api.parts, decode_body(await _body(request), Control)))


async def show_challenge(api: Api, request: Request) -> Response:
    """GET /challenge/{charge_id}?token=: the page."""
    try:
        token = request.query_params.get("token", "")
        charge = await usecases.get_challenge(api.parts, request.path_params["charge_id"], token)
    except NotFound:
        return HTMLResponse(missing_page(), 404, PAGE_HEADERS)
    return HTMLResponse(challenge_page(charge), headers=PAGE_HEADERS)


async def answer_challenge(api: Api, request: Request) -> Response:
    """POST /challenge/{charge_id}?token=: a form with `decision=approve|decline`."""
    decision = parse_qs((await _body(request)).decode("latin-1")).get("decision", [""])[0]
    if decision not in ("approve", "decline"):
        raise Invalid("parameter_invalid", "decision is approve or decline.", status=400)
    try:
        token = request.query_params.get("token", "")
        charge = await usecases.answer_challenge(
            api.parts, request.path_params["charge_id"], token, approved=decision == "approve"
        )
    except NotFound:
        return HTMLResponse(missing_page(), 404, PAGE_HEADERS)
    return HTMLResponse(challenge_page(charge), headers=PAGE_HEADERS)


async def livez(api: Api, _request: Request) -> Response:
    """GET /livez: 503 when the writer is gone."""
    if not api.parts.database.healthy:
        return Response(b'{"status":"failed"}', 503, media_type=JSON)
    return Response(b'{"status":"ok"}', media_type=JSON)


_ROUTES: tuple[tuple[str, str, Handler, bool, bool], ...] = (
    # method, path, handler, needs the API key, goes away in an outage
    ("POST", "/v1/charges", create_charge, True, True),
    ("GET", "/v1/charges", list_charges, True, True),
    ("GET", "/v1/charges/{charge_id}", get_charge, True, True),
    ("POST", "/v1/charges/{charge_id}/capture", capture_charge, True, True),
    ("POST", "/v1/charges/{charge_id}/confirm", confirm_charge, True, True),
    ("POST", "/v1/charges/{charge_id}/cancel", cancel_charge, True, True),
    ("POST", "/v1/refunds", create_refund, True, True),
    ("GET", "/v1/refunds", list_refunds, True, True),
    ("GET", "/v1/balance", get_balance, True, True),
    ("GET", "/v1/_control", control, True, False),
    ("POST", "/v1/_control", control, True, False),
    ("GET", "/challenge/{charge_id}", show_challenge, False, True),
    ("POST", "/challenge/{charge_id}", answer_challenge, False, True),
    ("GET", "/livez", livez, False, False),
)


async def _body(request: Request) -> bytes:
    """The whole body. Raises Invalid: 413 `body_too_large`."""
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > BODY_BYTES_MAX:
                raise Invalid("body_too_large", f"A body is at most {BODY_BYTES_MAX} bytes.", status=413)
            parts.append(part)
    except ClientDisconnect:
        raise Invalid("body_incomplete", "The body ended early.", status=400) from None
    return b"".join(parts)


def _idempotency_key(request: Request) -> str:
    key = request.headers.get("idempotency-key", "")
    if not key:
        raise Invalid("idempotency_key_required", "This request needs an Idempotency-Key header.", status=400)
    if len(key) > KEY_LENGTH_MAX or not (key.isascii() and key.isprintable()):
        message = f"An Idempotency-Key has 1 to {KEY_LENGTH_MAX} printable ASCII characters."
        raise Invalid("idempotency_key_invalid", message, status=400)
    return key


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", str(PAGE_SIZE))
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= PAGE_SIZE_MAX):
        raise Invalid("parameter_invalid", f"limit is 1 to {PAGE_SIZE_MAX}.", status=400)
    return int(text)


def _json(body: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(body), media_type=JSON)


def _answered(answer: Answer) -> Response:
    headers = {"Idempotency-Replayed": "true"} if answer.replayed else None
    return Response(answer.body, answer.status, headers, JSON)


def _error(problem: Problem) -> Response:
    headers = dict(problem.headers)
    if problem.retry_after_s is not None:
        headers["Retry-After"] = f"{problem.retry_after_s:.0f}"
    return Response(msgspec.json.encode(error_body(problem)), problem.status, headers, JSON)


def _internal_error() -> Response:
    detail = ErrorDetail(type="api_error", code="internal_error", message="The provider failed; ask again.")
    return Response(msgspec.json.encode(ErrorBody(detail)), 500, media_type=JSON)


async def _unroutable(_request: Request, exc: Exception) -> Response:
    """Starlette's own refusals: no such path, or not with this method."""
    status, headers = (exc.status_code, exc.headers) if isinstance(exc, HTTPException) else (500, None)
    code = {404: "path_unknown", 405: "method_not_allowed"}.get(status, "request_refused")
    detail = ErrorDetail(type="invalid_request_error", code=code, message="No such operation.")
    return Response(msgspec.json.encode(ErrorBody(detail)), status, headers, JSON)
