"""Paths, queries, keys, methods and framing that no operation may take: a proper 4xx problem, and nothing is stored."""

from __future__ import annotations

import base64

import msgspec
import pytest

from tests.e2e.edge import Edge
from tests.e2e.operations import BODIES
from tests.e2e.targets import Attack, Target, refused
from tradewind.chassis.ids import new_id

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("nothing_is_stored")]

STRANGE_NAMES = {
    "%00": (400, 404),
    "a%00b": (400, 404),
    "%2e%2e": (400, 404, 405),
    "..%2f..%2fetc%2fpasswd": (400, 404),
    "%ff%fe": (400, 404),
    "%": (400, 404),
    "%zz": (400, 404),
    "'%20OR%201=1--": (404,),
    "x" * 5_000: (404, 414, 431),
    "%F0%9F%92%A3": (404,),
    "00000000-0000-7000-8000-000000000000": (404,),
    "00000000-0000-7000-8000-000000000000%0A": (400, 404),
    "0": (404,),
    "-1": (404,),
    "%7B%7D": (404,),
}


async def test_names_of_nothing_in_paths(edge: Edge, target: Target) -> None:
    attacks = [
        Attack(
            f"path {name[:30]}",
            operation,
            path=operation.at(dict.fromkeys(target.names, name)),
            # A raw body is not parsed; the provider's name is looked at first.
            data=msgspec.json.encode(BODIES.get(operation.name)) if operation.has_body else None,
            wanted=wanted,
        )
        for operation in target.operations
        if "{" in operation.path
        for name, wanted in STRANGE_NAMES.items()
    ]
    assert await refused(edge, target, attacks) > 200


def _cursor(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


BAD_QUERIES = {
    "limit": ("0", "-1", "101", "1.5", "1e1", "abc", "", "%00", "9" * 400, "0x10", "%D9%A1", "10%20", "+10"),
    "cursor": (
        "", "!", "abc", "%00", "x" * 3_000, "%F0%9F%92%A3", _cursor(b"[]"), _cursor(b"[null]"), _cursor(b'["\\u0000"]'),
        _cursor(b"[1e999]"), _cursor(b"[99999999999999999999]"),  _cursor(b"{}"),
        _cursor(b"["), _cursor(b"[" * 5_000), _cursor(b'["9999-99-99T00:00:00Z","x"]'),
    ),
    "from": ("yesterday", "%00", "2026-13-01T00:00:00Z", "99999-01-01", "1"),
    "to": ("tomorrow", "%00", ""),
    "interval": ("minute", "%00", ""),
    "customer_id": ("me", "%00", "'", ""),
    "order_id": ("1", "%00", ""),
    "payment_id": ("1", "%00", ""),
    "status": ("paid", "%00", ""),
    "unread": ("perhaps", "%00", ""),
    "account": ("%00",),
    "at": ("now", "%00", "", "2026-13-01T00:00:00Z"),
    "currency": ("eur", "EURO", "%00", "", "EUR%0A"),
    "query": ("%00", "x" * 201),
}  # fmt: skip


async def test_bad_queries(edge: Edge, target: Target) -> None:
    assert {name for operation in target.operations for name in operation.query} == set(BAD_QUERIES)
    attacks = [
        Attack(f"?{name}={value[:30]}", operation, path=operation.at(target.names, **{name: value}), wanted=(400,))
        for operation in target.operations
        for name in operation.query
        for value in BAD_QUERIES[name]
        if not (name == "limit" and value == "101" and "interval" in operation.query)  # an hourly report is longer
    ]
    assert await refused(edge, target, attacks) > 250


@pytest.mark.parametrize("key", [None, "", "x" * 256, "gr\u00fc\u00df", "a\tb"])
async def test_a_key_that_is_none(edge: Edge, target: Target, key: str | None) -> None:
    keyed = [operation for operation in target.operations if operation.keyed]
    assert len(keyed) >= 8
    faults = []
    for operation in keyed:
        answer = await edge.ask(
            operation.method,
            operation.at(target.names),
            token=target.admin,
            headers={} if key is None else {"idempotency-key": key},
            data=msgspec.json.encode(BODIES[operation.name]) if operation.has_body else None,
        )
        faults += [f"{operation.name}: {fault}" for fault in answer.faults(400)]
        code = "idempotency-key-invalid" if key else "idempotency-key-required"
        if not faults and answer.body["code"] != code:
            faults.append(f"{operation.name}: {answer.body['code']}")
    assert faults == [], "\n".join(faults)


async def test_methods_a_path_does_not_have(edge: Edge, target: Target) -> None:
    by_path: dict[str, set[str]] = {}
    for operation in target.operations:
        by_path.setdefault(operation.path, set()).add(operation.method)
    faults = []
    for path, methods in by_path.items():
        real = next(operation for operation in target.operations if operation.path == path).at(target.names)
        allowed = methods | ({"HEAD"} if "GET" in methods else set())
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"):
            if method in methods:
                continue
            answer = await edge.ask(method, real, token=target.admin, headers={"idempotency-key": new_id()})
            faults += [f"{method} {path}: {fault}" for fault in answer.faults(405)]
            found = set(answer.headers.get("allow", "").replace(" ", "").split(","))
            if answer.status == 405 and found != allowed:
                faults.append(f"{method} {path}: Allow says {found}, not {allowed}")
    assert faults == [], "\n".join(faults)


UNKNOWN_PATHS = (
    "/", "/v1", "/v1/", "/v2/orders", "/v1/orders/", "/v1/order", "/V1/ORDERS", "/v1/orders/1/2/3", "/index.html",
    "/.env", "/.git/config", "/wp-login.php", "/favicon.ico", "/v1/orders;a=b", "/v1/users/me/", "/v1/%6frders/",
)  # fmt: skip


async def test_paths_that_lead_nowhere(edge: Edge, target: Target) -> None:
    faults = []
    for path in UNKNOWN_PATHS:
        for method in ("GET", "POST", "DELETE"):
            answer = await edge.ask(method, path, token=target.admin)
            faults += [f"{method} {path}: {fault}" for fault in answer.faults(404)]
    assert faults == [], "\n".join(faults)


HARDLY_HTTP: dict[str, tuple[bytes, tuple[int, ...]]] = {
    "a raw NUL in the path": (b"GET /v1/products/a\x00b HTTP/1.1\r\nHost: x\r\n\r\n", (400, 404)),
    "a raw NUL in a header": (b"GET /v1/products HTTP/1.1\r\nHost: x\r\nX-A: a\x00b\r\n\r\n", (400,)),
    "a space in the path": (b"GET /v1/ products HTTP/1.1\r\nHost: x\r\n\r\n", (400, 404)),
    "no host": (b"GET /v1/products HTTP/1.1\r\n\r\n", (400,)),
    "no HTTP": (b"HELO example.test\r\n\r\n", (400,)),
    "HTTP of the future": (b"GET /v1/products HTTP/9.9\r\nHost: x\r\n\r\n", (400, 426)),
    "two lengths": (
        b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", (400,),
    ),
    "a length and chunks": (
        b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", (400,),
    ),
    "a length below nothing": (b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", (400,)),
    "chunks that are none": (
        b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", (400,),
    ),
    "another encoding": (
        b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", (400,),
    ),
    "a header without a name": (b"GET /v1/products HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n", (400,)),
    "a header of 40 kB": (b"GET /v1/products HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 40_960 + b"\r\n\r\n", (431,)),
    "two hundred headers": (
        b"GET /v1/products HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: a\r\n" % number for number in range(200)) + b"\r\n",
        (431,),
    ),
    "a path of 40 kB": (b"GET /v1/" + b"a" * 40_960 + b" HTTP/1.1\r\nHost: x\r\n\r\n", (414, 431)),
    "a tunnel": (b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n", (400, 403, 404, 405)),
}  # fmt: skip


@pytest.mark.parametrize("kind", HARDLY_HTTP)
async def test_what_is_hardly_http(edge: Edge, kind: str) -> None:
    request, wanted = HARDLY_HTTP[kind]
    answer = await edge.say(request)
    assert answer.faults(*wanted) == []
