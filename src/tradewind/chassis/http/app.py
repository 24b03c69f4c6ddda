"""The ASGI application of an `Api`: each operation is an endpoint that authenticates, binds, runs and renders."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tradewind.chassis import idempotency, logs, trace
from tradewind.chassis.errors import (
    PROBLEM_MEDIA_TYPE,
    Forbidden,
    Invalid,
    NotFound,
    Problem,
    Unauthenticated,
    Unavailable,
    problem_document,
)
from tradewind.chassis.http.api import Api, Operation
from tradewind.chassis.http.binding import Binder
from tradewind.chassis.http.gate import Gate
from tradewind.chassis.http.values import Call, Reply
from tradewind.chassis.idempotency import Answer
from tradewind.chassis.identity import Caller
from tradewind.chassis.ids import new_id
from tradewind.chassis.metrics import Metrics, RouteTimer
from tradewind.chassis.postgres import Database, Tx
from tradewind.chassis.request_scope import TIMEOUT_HEADER, parse_timeout_ms, remaining_s, require_time, use_request

P = TypeVar("P")

KEPT_HEADERS = ("location", "etag")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_JSON = msgspec.json.Encoder(decimal_format="string")
_log = logs.get_logger("http")


class Verifier(Protocol):
    """Turns an access token into the caller it was made for."""

    async def verify(self, token: str) -> Caller:
        """Raises `Unauthenticated`."""
        ...


class Doorman(msgspec.Struct, frozen=True):
    """What the HTTP door itself needs: who verifies tokens, where idempotency keys live, where figures go."""

    verifier: Verifier | None
    database: Database | None
    metrics: Metrics


def build_asgi(api: Api, parts: P, doorman: Doorman) -> ASGIApp:
    """Assemble the application; every wrong declaration shows here, before the first request."""
    by_path: dict[str, list[Operation]] = {}
    for operation in api.operations:
        by_path.setdefault(operation.path, []).append(operation)
    gate = Gate(doorman.metrics)
    routes = [
        Route(
            path, _Methods({operation.method: _Endpoint(operation, parts, doorman, gate) for operation in operations})
        )
        for path, operations in by_path.items()
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _no_such_route})
    app.router.redirect_slashes = False
    return app


class _Methods:
    """All operations of one path."""

    def __init__(self, endpoints: Mapping[str, _Endpoint[Any]]) -> None:
        self._endpoints = dict(endpoints)
        if "GET" in self._endpoints:
            self._endpoints["HEAD"] = self._endpoints["GET"]
        self._allow = ", ".join(sorted(self._endpoints))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get(scope["method"])
        if endpoint is None:
            request = Request(scope)
            problem = Invalid(
                "method-not-allowed", f"Allowed here: {self._allow}.", status=405, headers={"allow": self._allow}
            )
            await render_problem(problem, _request_id(request))(scope, receive, send)
            return
        await endpoint(scope, receive, send)


class _Endpoint(Generic[P]):
    """One operation, served."""

    def __init__(self, operation: Operation, parts: P, doorman: Doorman, gate: Gate) -> None:
        if operation.idempotent and doorman.database is None:
            raise TypeError(f"{operation.name}: an idempotent operation needs a database")
        if operation.access.kind != "public" and doorman.verifier is None:
            raise TypeError(f"{operation.name}: an operation with access control needs a token verifier")
        self._operation = operation
        self._parts = parts
        self._doorman = doorman
        self._gate = gate
        self._binder = Binder(operation)
        self._span_name = f"{operation.method} {operation.path}"
        self._timer: RouteTimer = doorman.metrics.route(operation.method, operation.path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        headers = request.headers
        request_id = _request_id(request)
        # The edge decided whether the trace is sampled, and lets no `x-tradewind-` header of a client pass.
        timeout_s = parse_timeout_ms(headers.get(TIMEOUT_HEADER))
        with (
            trace.use_traceparent(headers.get("traceparent")),
            use_request(request_id, timeout_s),
            self._timer.timing() as timing,
            trace.span(self._span_name, kind="server") as span,
        ):
            response = await self._respond(request, request_id)
            timing.status = response.status_code
            if logs.writes("debug"):
                _log.debug("answered", route=self._span_name, status=response.status_code)
            if span.recording:
                span.set("http.request.method", self._operation.method)
                span.set("http.route", self._operation.path)
                span.set("http.response.status_code", response.status_code)
            if not self._operation.stream:
                await response(scope, receive, send)
        if self._operation.stream:
            # How long it lasts is the client's choice: no latency, and no span that stays open.
            await response(scope, receive, send)

    async def _respond(self, request: Request, request_id: str) -> Response:
        try:
            async with self._gate.place(urgent=self._operation.urgent):
                caller = await self._authenticate(request)
                body = await self._read_body(request) if self._binder.reads_body else b""
                arguments = self._binder.bind(request, body)
                call = Call(self._parts, request, request_id, caller)
                require_time()
                if self._operation.stream:
                    return await self._run(call, arguments)
                try:
                    async with asyncio.timeout(remaining_s(self._operation.timeout_s)):
                        return await self._run(call, arguments)
                except TimeoutError as exc:
                    raise Unavailable("timeout", "It took too long; the outcome is unknown.", status=504) from exc
        except Problem as problem:
            if problem.status >= 500:
                _log.warning("unavailable", code=problem.code, detail=problem.detail, route=self._span_name)
            return render_problem(problem, request_id)
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception as exc:
            _log.error("request failed", route=self._span_name, exc_info=exc)
            return _internal_error(request_id)

    async def _authenticate(self, request: Request) -> Caller | None:
        access = self._operation.access
        if access.kind == "public":
            return None
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if not token:
            if access.kind == "optional":
                return None
            raise Unauthenticated("token-missing", "Send Authorization: Bearer <access token>.", headers=_CHALLENGE)
        if scheme.lower() != "bearer" or self._doorman.verifier is None:
            raise Unauthenticated("token-invalid", "Send Authorization: Bearer <access token>.", headers=_CHALLENGE)
        caller = await self._doorman.verifier.verify(token.strip())
        if access.roles and not any(caller.has(role) for role in access.roles):
            raise Forbidden("role-required", f"This needs one of the roles: {', '.join(access.roles)}.")
        return caller

    async def _read_body(self, request: Request) -> bytes:
        limit = self._operation.max_body_bytes
        declared = request.headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > limit:
            raise _too_large(limit)
        chunks: list[bytes] = []
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)
            chunks.append(chunk)
        return b"".join(chunks)

    async def _run(self, call: Call[P], arguments: dict[str, Any]) -> Response:
        if not self._operation.idempotent:
            result = await self._operation.handler(call, **arguments)
            return result if isinstance(result, Response) else _render(self._operation, result)
        answer = await self._run_once(call, arguments)
        headers = dict(answer.headers)
        if answer.replayed:
            headers["idempotency-replayed"] = "true"
        media_type = PROBLEM_MEDIA_TYPE if answer.status >= 400 else "application/json"
        return Response(answer.body, answer.status, headers, media_type)

    async def _run_once(self, call: Call[P], arguments: dict[str, Any]) -> Answer:
        database = self._doorman.database
        if database is None:
            raise RuntimeError("checked when the application was built")
        canonical = _JSON.encode(arguments.get("body"))
        key = idempotency.check_key(call.request.headers.get("idempotency-key"))
        prepared = await self._prepare(call, arguments)

        async def attempt(tx: Tx) -> Answer:
            if isinstance(prepared, Problem):
                raise prepared
            result = await self._operation.handler(call, tx=tx, **arguments, **prepared)
            return _answer(_render(self._operation, result))

        return await idempotency.run_once(
            database,
            subject=call.caller.subject,
            key=key,
            print_=idempotency.fingerprint(self._operation.method, call.request.url.path, canonical),
            attempt=attempt,
            render_problem=lambda problem: _answer(render_problem(problem, call.request_id)),
        )

    async def _prepare(self, call: Call[P], arguments: dict[str, Any]) -> dict[str, Any] | Problem:
        """What the handler gets beside its bound arguments.

        A problem is returned, not raised: where the key has a stored answer, that answer counts and not this failure.
        """
        if self._operation.prepare is None:
            return {}
        try:
            return {"prepared": await self._operation.prepare(call, **arguments)}
        except Problem as problem:
            return problem


_CHALLENGE = {"www-authenticate": 'Bearer realm="tradewind"'}


def _answer(response: Response) -> Answer:
    kept = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
    return Answer(response.status_code, kept, bytes(response.body))


def _render(operation: Operation, result: Any) -> Response:
    headers: dict[str, str] | None = None
    status = operation.status
    if isinstance(result, Reply):
        headers, status, result = result.headers, result.status or status, result.body
    if result is None:
        return Response(status_code=status, headers=headers)
    return Response(_JSON.encode(result), status, headers, "application/json")


def render_problem(problem: Problem, request_id: str) -> Response:
    """A problem as `application/problem+json`, with `Retry-After` where it says when to try again."""
    context = trace.current()
    document = problem_document(problem, request_id=request_id, trace_id=context.trace_id if context else "")
    headers = dict(problem.headers)
    if problem.retry_after_s is not None:
        headers["retry-after"] = str(max(1, round(problem.retry_after_s)))
    if problem.status == 401:
        headers.setdefault("www-authenticate", _CHALLENGE["www-authenticate"])
    return Response(_JSON.encode(document), problem.status, headers, PROBLEM_MEDIA_TYPE)


def _internal_error(request_id: str) -> Response:
    context = trace.current()
    document = {
        "type": "urn:tradewind:problem:internal-error",
        "title": "Internal error",
        "status": 500,
        "detail": "Something failed on our side. The request id finds it in the logs.",
        "code": "internal-error",
        "request_id": request_id,
        "trace_id": context.trace_id if context else "",
    }
    return Response(_JSON.encode(document), 500, media_type=PROBLEM_MEDIA_TYPE)


async def _no_such_route(request: Request, _exc: Exception) -> Response:
    return render_problem(NotFound("not-found", "There is nothing at this path."), _request_id(request))


def _request_id(request: Request) -> str:
    given = request.headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else new_id()


def _too_large(limit: int) -> Invalid:
    return Invalid("body-too-large", f"The body may have {limit} bytes.", status=413)
