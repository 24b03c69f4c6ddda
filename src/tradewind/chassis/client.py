"""Calls to other services, by name, through the mesh egress.

    user = await mesh.get("user-service", "/v1/users/{id}", path_params={"id": user_id}, token=caller.token, type=User)

Balancing, retries, outlier ejection and circuit breaking are the egress's (Envoy's); a call here is sent once. It
carries the trace, the request id and the time that is left, and ends in a typed value or in one of the seven problems.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Mapping
from typing import Any, TypeAlias, TypedDict, TypeVar, Unpack, overload
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from tradewind.chassis import request_scope, trace
from tradewind.chassis.answers import read_answer, retry_after_s
from tradewind.chassis.errors import PROBLEM_MEDIA_TYPE, NotFound, Problem, Unavailable, problem_from_document
from tradewind.chassis.logs import get_logger
from tradewind.chassis.metrics import Metrics

POOL_SIZE = 64
TIMEOUT_S = 2.0
CONNECT_TIMEOUT_S = 0.5
KEEPALIVE_S = 30.0
MAX_ANSWER_BYTES = 8 * 1024 * 1024

T = TypeVar("T")
Scalar: TypeAlias = str | int | float | bool

_encode = msgspec.json.Encoder().encode

# What Envoy answers by itself has no problem document; these are the codes of such answers.
_BARE_CODES = {
    401: "token-invalid",
    403: "forbidden",
    404: "not-found",
    409: "conflict",
    412: "precondition-failed",
    413: "too-large",
    415: "unsupported-media-type",
    429: "rate-limited",
}
_PASSED_ON = frozenset({400, 401, 403, 404, 409, 412, 413, 415, 422, 429})

log = get_logger(__name__)


class CallOptions(TypedDict, total=False):
    """What a call may carry. `path_params` fill the braces of the path, quoted, so that none can leave its place."""

    path_params: Mapping[str, str]
    params: Mapping[str, Scalar | None]
    body: Any
    token: str | None
    idempotency_key: str | None
    timeout_s: float


class MeshClient:
    """One service's way to the others: a bounded pool of connections to the egress at `mesh_url`."""

    def __init__(
        self,
        mesh_url: str,
        service: str,
        *,
        pool_size: int = POOL_SIZE,
        metrics: Metrics | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`service` is the caller's own name, such as `order-service`. Nothing connects before the first call.

        With `tls` the egress is spoken to in mutual TLS, whatever the scheme of `mesh_url`.
        """
        self._base = mesh_url.rstrip("/")
        self._tls = tls
        if tls is not None and self._base.startswith("http://"):
            self._base = "https://" + self._base.removeprefix("http://")
        self._agent = f"tradewind/{service}"
        self._pool_size = pool_size
        self._metrics = metrics or Metrics()
        self._session: aiohttp.ClientSession | None = None

    @overload
    async def get(self, service: str, path: str, *, type: type[T], **options: Unpack[CallOptions]) -> T: ...
    @overload
    async def get(self, service: str, path: str, **options: Unpack[CallOptions]) -> None: ...
    async def get(self, service: str, path: str, *, type: Any = None, **options: Unpack[CallOptions]) -> Any:
        """`call` with GET."""
        return await self.call("GET", service, path, type=type, **options)

    @overload
    async def post(self, service: str, path: str, *, type: type[T], **options: Unpack[CallOptions]) -> T: ...
    @overload
    async def post(self, service: str, path: str, **options: Unpack[CallOptions]) -> None: ...
    async def post(self, service: str, path: str, *, type: Any = None, **options: Unpack[CallOptions]) -> Any:
        """`call` with POST. Only with an `idempotency_key` does the egress retry it after a lost connection."""
        return await self.call("POST", service, path, type=type, **options)

    @overload
    async def put(self, service: str, path: str, *, type: type[T], **options: Unpack[CallOptions]) -> T: ...
    @overload
    async def put(self, service: str, path: str, **options: Unpack[CallOptions]) -> None: ...
    async def put(self, service: str, path: str, *, type: Any = None, **options: Unpack[CallOptions]) -> Any:
        """`call` with PUT."""
        return await self.call("PUT", service, path, type=type, **options)

    @overload
    async def delete(self, service: str, path: str, *, type: type[T], **options: Unpack[CallOptions]) -> T: ...
    @overload
    async def delete(self, service: str, path: str, **options: Unpack[CallOptions]) -> None: ...
    async def delete(self, service: str, path: str, *, type: Any = None, **options: Unpack[CallOptions]) -> Any:
        """`call` with DELETE."""
        return await self.call("DELETE", service, path, type=type, **options)

    async def call(
        self, method: str, service: str, path: str, *, type: Any = None, **options: Unpack[CallOptions]
    ) -> Any:
        """Call `service` and decode its answer as `type`; without a type the answer is thrown away.

        It takes `timeout_s` (2.0), or what the request being served has left, whichever is less.

        Raises:
            Problem: a 4xx, as the service put it: `Invalid`, `NotFound`, `Conflict` and so on, with its code.
            Unavailable: `upstream-unavailable` (no answer in time, or a 5xx), `upstream-invalid-answer`,
                or `deadline-exceeded` when the caller's time is up before the call is made.
        """
        timeout_s = request_scope.remaining_s(options.get("timeout_s", TIMEOUT_S))
        if timeout_s <= 0.0:
            raise Unavailable("deadline-exceeded", f"No time was left to call {service}.")
        attributes = {"http.request.method": method, "server.address": service, "url.template": path}
        with trace.span(f"{method} {path}", kind="client", attributes=attributes) as span:
            headers, body = self._prepare(service, timeout_s, options)
            url = _url(self._base, path, options)
            started_s = time.perf_counter()
            status = 0
            try:
                async with self._open().request(
                    method, url, data=body, headers=headers, allow_redirects=False, timeout=_timeout(timeout_s)
                ) as answer:
                    raw = await read_answer(answer, MAX_ANSWER_BYTES)
                    status = answer.status
            except (aiohttp.ClientError, TimeoutError, OSError) as exc:
                log.warning("a service did not answer", target=service, path=path, error=str(exc) or "timed out")
                raise Unavailable("upstream-unavailable", f"{service} does not answer.", retry_after_s=1.0) from exc
            finally:
                self._metrics.call(service, method).observe(status, time.perf_counter() - started_s)
            span.set("http.response.status_code", status)
            if not 200 <= status < 300:
                raise _problem(service, answer, raw)
            return None if type is None else _decode(service, path, raw, type)

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._pool_size, keepalive_timeout=KEEPALIVE_S, ssl=self._tls or True
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"user-agent": self._agent, "accept": "application/json"},
            )
        return self._session

    def _prepare(self, service: str, timeout_s: float, options: CallOptions) -> tuple[dict[str, str], bytes | None]:
        headers = {"host": service, request_scope.TIMEOUT_HEADER: str(max(1, int(timeout_s * 1000)))}
        if traceparent := trace.current_traceparent():
            headers["traceparent"] = traceparent
        if request_id := request_scope.current_request_id():
            headers[request_scope.REQUEST_ID_HEADER] = request_id
        if token := options.get("token"):
            headers["authorization"] = f"Bearer {token}"
        if key := options.get("idempotency_key"):
            headers["idempotency-key"] = key
        body = options.get("body")
        if body is None:
            return headers, None
        headers["content-type"] = "application/json"
        return headers, _encode(body)


def _url(base: str, path: str, options: CallOptions) -> URL:
    if values := options.get("path_params"):
        # Quoting leaves dots alone, and an empty segment or one of dots is another path; so is a quoted slash, unquoted.
        if any(value in {"", ".", ".."} or "/" in value or "\\" in value for value in values.values()):
            raise NotFound("not-found", "There is nothing with that id.")
        path = path.format_map({name: quote(value, safe="") for name, value in values.items()})
    url = URL(base + path, encoded=True)
    if params := options.get("params"):
        url = url.with_query({name: _text(value) for name, value in params.items() if value is not None})
    return url


def _text(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _timeout(timeout_s: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S)


def _decode(service: str, path: str, raw: bytes, type: Any) -> Any:
    try:
        return msgspec.json.decode(raw, type=type)
    except msgspec.DecodeError as exc:
        log.error("a service answered something else than agreed", target=service, path=path, error=str(exc))
        raise Unavailable("upstream-invalid-answer", f"{service} gave an answer we do not understand.") from exc


class _Document(msgspec.Struct):
    code: str = ""
    detail: str = ""
    errors: list[dict[str, Any]] = []


def _problem(service: str, answer: aiohttp.ClientResponse, raw: bytes) -> Problem:
    """The problem that an answer outside 2xx stands for. A 5xx is never passed on as such: it names the service."""
    status = answer.status
    if status not in _PASSED_ON:
        return Unavailable(
            "upstream-unavailable", f"{service} answered {status}.", retry_after_s=retry_after_s(answer) or 1.0
        )
    document = _Document()
    if answer.content_type == PROBLEM_MEDIA_TYPE:
        with contextlib.suppress(msgspec.DecodeError):
            document = msgspec.json.decode(raw, type=_Document)
    found = msgspec.structs.asdict(document)
    found["code"] = document.code or _BARE_CODES.get(status, "invalid")
    return problem_from_document(status, found, retry_after_s=retry_after_s(answer))
