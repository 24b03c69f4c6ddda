"""Whatever comes in at the edge, the answer is a proper 4xx problem, and nothing is stored."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any

import aiohttp
import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.e2e.customers import administrator, bought, newcomer, product
from tests.e2e.edge import TIMEOUT_S, Answer, Edge
from tests.e2e.operations import BODIES, WEBHOOK, Operation, leaves, operations, with_raw
from tests.e2e.platforms import audit
from tradewind.bench.platform import Platform
from tradewind.chassis.ids import new_id
from tradewind.chassis.signing import TokenSigner
from tradewind.traffic.client import ADDRESS, Shopper, open_shop

pytestmark = pytest.mark.asyncio(loop_scope="module")

MEGABYTES_10 = 10 * 1024 * 1024
AT_ONCE = 8


class Target(msgspec.Struct, frozen=True):
    """A customer with an order, and the name of one real thing for every path parameter."""

    admin: str
    customer: Shopper
    order: Any
    names: dict[str, str]
    operations: list[Operation]


@pytest.fixture(scope="module")
async def edge(platform: Platform) -> AsyncIterator[Edge]:
    connector = aiohttp.TCPConnector(limit=AT_ONCE)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, max_line_size=2**20, max_field_size=2**20
    ) as session:
        yield Edge(session, platform.port)


@pytest.fixture(scope="module")
async def target(platform: Platform, edge: Edge) -> Target:
    async with open_shop(platform.url) as shop:
        admin, ada = await administrator(shop), await newcomer(shop)
        sku = await product(shop, admin)
        order = await bought(shop, ada, sku)
        told = await shop.until(ada.token, "/v1/notifications", lambda body: body["items"])
        address = (await shop.call("POST", "/v1/users/me/addresses", token=admin, body=ADDRESS)).body
        sessions = (await shop.call("GET", "/v1/auth/sessions", token=admin)).body["items"]
    names = {
        "/v1/auth/sessions/": sessions[0]["id"],
        "/v1/notifications/": told["items"][0]["id"],
        "/v1/orders/": order["id"],
        "/v1/payments/": order["payment"]["id"],
        "/v1/payments/webhooks/": "sandbox",
        "/v1/products/": sku,
        "/v1/users/": ada.id,
        "/v1/users/me/addresses/": address["id"],
    }
    return Target(admin, ada, order, names, operations((await edge.ask("GET", "/openapi.json")).body))


@pytest.fixture(scope="module", autouse=True)
async def nothing_is_stored(platform: Platform, edge: Edge, target: Target) -> AsyncIterator[None]:
    """Everything that can be read is the same after the tests of this module as before."""
    before = await _everything(edge, target)
    yield
    assert await _everything(edge, target) == before
    await asyncio.to_thread(audit, platform)


async def _everything(edge: Edge, target: Target) -> dict[str, Any]:
    found = {}
    for operation in target.operations:
        # Sessions come and go with every login; analytics and the provider's standing follow what other tests did.
        if operation.method != "GET" or operation.path.startswith(
            ("/v1/auth", "/v1/analytics", "/v1/payments/reconciliation")
        ):
            continue
        query = "?limit=100&customer_id=all" if "customer_id" in operation.query else "?limit=100"
        path = operation.at(target.names) + (query if "limit" in operation.query else "")
        token = target.customer.token if operation.path.startswith("/v1/notifications") else target.admin
        answer = await edge.ask("GET", path, token=token)
        assert answer.status == 200, f"{path}: {answer.raw!r}"
        found[path] = answer.body
    return found


class Attack(msgspec.Struct, frozen=True):
    """A request that must be refused, with one of the statuses `wanted` (none: any 4xx)."""

    name: str
    operation: Operation
    data: bytes | None = None
    path: str = ""
    headers: dict[str, str] = {}
    wanted: tuple[int, ...] = ()


async def refused(edge: Edge, target: Target, attacks: Iterable[Attack]) -> int:
    """Send all of them as an administrator, and require a proper refusal of each; return how many there were."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def send(attack: Attack) -> list[str]:
        operation = attack.operation
        headers = {**({"idempotency-key": new_id()} if operation.keyed else {}), **attack.headers}
        async with gate:
            answer = await edge.ask(
                operation.method,
                attack.path or operation.at(target.names),
                token=target.admin if operation.secured else None,
                headers=headers,
                data=attack.data,
            )
        return [f"{attack.name} at {operation.name}: {fault}" for fault in answer.faults(*attack.wanted)]

    every = list(attacks)
    faults = [fault for found in await asyncio.gather(*(send(attack) for attack in every)) for fault in found]
    assert faults == [], f"{len(faults)} of {len(every)}:\n" + "\n".join(faults)
    return len(every)


def with_body(target: Target) -> list[Operation]:
    """The operations that take JSON. Each has a body in `BODIES`; a new one needs one."""
    found = [operation for operation in target.operations if operation.has_body and operation.name != WEBHOOK]
    assert {operation.name for operation in found} == set(BODIES)
    return found


BROKEN: dict[str, tuple[bytes, tuple[int, ...]]] = {
    "nothing": (b"", (400,)),
    "half an object": (b"{", (400,)),
    "not JSON": (b"<order/>", (400,)),
    "single quotes": (b"{'a': 1}", (400,)),
    "NaN": (b"NaN", (400,)),
    "a second value": (b"{} {}", (400, 422)),
    "a trailing comma": (b'{"a": 1,}', (400, 422)),
    "a byte order mark": (b"\xef\xbb\xbf{}", (400,)),
    "UTF-16": ("{}".encode("utf-16"), (400,)),
    "broken UTF-8": (b'{"name": "\xc3\x28"}', (400, 422)),
    "a raw NUL": (b'{"name": "\x00"}', (400, 422)),
    "deep arrays": (b"[" * 100_000, (400, 422)),
    "deep objects": (b'{"a":' * 50_000, (400, 422)),
    "deep, and closed": (b"[" * 50_000 + b"]" * 50_000, (400, 422)),
    "an array": (b"[]", (422,)),
    "a string": (b'"order"', (422,)),
    "a number": (b"1", (422,)),
    "null": (b"null", (422,)),
    "an unknown field": (b'{"x-no-such-field": 1}', (422,)),
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_a_body_that_is_none(edge: Edge, target: Target, kind: str) -> None:
    data, wanted = BROKEN[kind]
    await refused(edge, target, [Attack(kind, operation, data, wanted=wanted) for operation in with_body(target)])


NOT_A_STRING = ("5", "true", "{}", '["a"]', '"a\\u0000b"', '"\\ud800"', '"' + "x" * 20_000 + '"')
NOT_AN_INTEGER = (
    "1.5", "1e400", "-1e400", "1e2000000", "NaN", "Infinity", "-Infinity", '"1"', "true", "null", "{}", "[1]",
    str(2**63), str(-(2**63) - 1), str(10**400), "0x10", "01",
)  # fmt: skip


async def test_fields_of_another_type(edge: Edge, target: Target) -> None:
    attacks = []
    for operation in with_body(target):
        body = BODIES[operation.name]
        for at, value in leaves(body):
            for raw in NOT_AN_INTEGER if isinstance(value, int) else NOT_A_STRING:
                data = with_raw(body, at, raw)
                attacks.append(Attack(f"{raw[:20]} in /{'/'.join(map(str, at))}", operation, data, wanted=(400, 422)))
    assert await refused(edge, target, attacks) > 300


async def test_money_is_never_a_float_nor_less_than_nothing(edge: Edge, target: Target) -> None:
    attacks = []
    for operation in with_body(target):
        body = BODIES[operation.name]
        for at, value in leaves(body):
            if at[-1] in ("amount_minor", "quantity") or at[-1] == "stock":
                for raw in ("-1", "1.0", "19.99", "1e2", "-0.0", '"19.99"') + (("0",) if at[-1] != "stock" else ()):
                    name = f"{raw} in /{'/'.join(map(str, at))} for {value}"
                    attacks.append(Attack(name, operation, with_raw(body, at, raw), wanted=(422,)))
    assert await refused(edge, target, attacks) >= 30


async def test_fields_that_are_missing(edge: Edge, target: Target) -> None:
    attacks = []
    for operation in with_body(target):
        if operation.method == "PATCH":
            continue
        body = BODIES[operation.name]
        for name in body:
            if name not in ("description", "amount"):
                data = msgspec.json.encode({key: value for key, value in body.items() if key != name})
                attacks.append(Attack(f"no {name}", operation, data, wanted=(422,)))
    assert await refused(edge, target, attacks) > 20


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
async def test_a_body_of_ten_megabytes(edge: Edge, target: Target, chunked: bool) -> None:
    """Also where no body is expected: it must not get through to be ignored."""
    body = b'{"name": "' + b"x" * MEGABYTES_10 + b'"}'

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 2**16):
            yield body[start : start + 2**16]

    faults = []
    for operation in target.operations:
        if operation.method in ("GET", "DELETE"):
            continue
        answer = await edge.ask(
            operation.method,
            operation.at(target.names),
            token=target.admin if operation.secured else None,
            headers={"idempotency-key": new_id()},
            data=pieces() if chunked else body,
        )
        faults += [f"{operation.name}: {fault}" for fault in answer.faults(413)]
    assert faults == [], "\n".join(faults)


@pytest.mark.parametrize(
    "media_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "nonsense",
    ],
)
async def test_another_media_type(edge: Edge, target: Target, media_type: str) -> None:
    await refused(
        edge,
        target,
        [
            Attack(
                media_type, operation, msgspec.json.encode(BODIES[operation.name]),
                headers={"content-type": media_type}, wanted=(415,),
            )
            for operation in with_body(target)
        ],
    )  # fmt: skip


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
    "query": ("%00", "x" * 201),
}  # fmt: skip


async def test_bad_queries(edge: Edge, target: Target) -> None:
    assert {name for operation in target.operations for name in operation.query} == set(BAD_QUERIES)
    attacks = [
        Attack(f"?{name}={value[:30]}", operation, path=f"{operation.at(target.names)}?{name}={value}", wanted=(400,))
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
            # The most specific template wins, but a path may have methods of a less specific one too.
            if method in methods or (path, method) in SHADOWED:
                continue
            answer = await edge.ask(method, real, token=target.admin, headers={"idempotency-key": new_id()})
            faults += [f"{method} {path}: {fault}" for fault in answer.faults(405)]
            found = set(answer.headers.get("allow", "").replace(" ", "").split(","))
            if answer.status == 405 and found != allowed:
                faults.append(f"{method} {path}: Allow says {found}, not {allowed}")
    assert faults == [], "\n".join(faults)


SHADOWED: frozenset[tuple[str, str]] = frozenset()


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


def _forged(platform: Platform, target: Target) -> dict[str, str]:
    """Tokens that claim to be an administrator's and were not given out."""
    genuine = target.admin
    head, payload, signature = genuine.split(".")
    claims = jwt.decode(genuine, options={"verify_signature": False})
    kid = jwt.get_unverified_header(genuine)["kid"]
    header = {"kid": kid, "typ": "at+jwt"}
    ours = TokenSigner.load(platform.keys_file)
    stranger = ec.generate_private_key(ec.SECP256R1())
    public = stranger.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    now = int(time.time())

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(msgspec.json.encode(value)).rstrip(b"=").decode()

    return {
        "no algorithm": f"{part({**header, 'alg': 'none'})}.{payload}.",
        "no algorithm, capital": f"{part({**header, 'alg': 'None'})}.{payload}.",
        "no algorithm, signed": f"{part({**header, 'alg': 'none'})}.{payload}.{signature}",
        "HS256": jwt.encode(claims, "secret" * 8, "HS256", header),
        "HS256 with a public key": jwt.encode(claims, base64.b64encode(public), "HS256", header),
        "another key with our name": jwt.encode(claims, stranger, "ES256", header),
        "another key": jwt.encode(claims, stranger, "ES256", {"kid": "theirs"}),
        "a key of its own": jwt.encode(
            claims, stranger, "ES256", {"jwk": {"kty": "EC"}, "jku": "http://127.0.0.1/keys"}
        ),
        "expired": ours.sign({**claims, "iat": now - 700, "exp": now - 100}),
        "no expiry": ours.sign({name: value for name, value in claims.items() if name != "exp"}),
        "another audience": ours.sign({**claims, "aud": "somebody-else"}),
        "another issuer": ours.sign({**claims, "iss": "somebody-else"}),
        "another subject, same signature": f"{head}.{part({**claims, 'sub': target.customer.id})}.{signature}",
        "cut off": genuine[:-10],
        "one bit": genuine[:-20] + ("A" if genuine[-20] != "A" else "B") + genuine[-19:],
        "two parts": f"{head}.{payload}",
        "not a token": "admin",
        "empty": "",
        "long": "x" * 10_000,
    }


async def test_forged_tokens(platform: Platform, edge: Edge, target: Target) -> None:
    tokens = _forged(platform, target)
    faults = []
    for name, token in tokens.items():
        answer = await edge.ask("GET", "/v1/users", token=token)
        faults += [f"{name}: {fault}" for fault in answer.faults(401)]
        if answer.status == 401 and "www-authenticate" not in answer.headers:
            faults.append(f"{name}: no WWW-Authenticate")
    assert faults == [], "\n".join(faults)


async def test_every_secured_operation_wants_a_token(platform: Platform, edge: Edge, target: Target) -> None:
    secured = [operation for operation in target.operations if operation.secured]
    assert len(secured) > 30
    tokens = _forged(platform, target)
    faults = []
    for operation in secured:
        for headers in (
            {},
            {"authorization": f"Bearer {tokens['another key with our name']}"},
            {"authorization": f"Basic {target.admin}"},
            {"authorization": target.admin},
            {"cookie": f"access_token={target.admin}"},
            {"x-user-id": "root", "x-user-roles": "admin", "x-tradewind-subject": target.customer.id},
        ):
            path = f"{operation.at(target.names)}?access_token={target.admin}"
            body = msgspec.json.encode(BODIES[operation.name]) if operation.has_body else None
            sent = {**headers, "idempotency-key": new_id()}
            answer = await edge.ask(operation.method, path, headers=sent, data=body)
            faults += [f"{operation.name} with {list(headers)}: {fault}" for fault in answer.faults(401)]
    assert faults == [], "\n".join(faults)


SPOOFED = {
    "x-user-id": "00000000-0000-7000-8000-000000000001",
    "x-user-roles": "admin",
    "x-user-email": "admin@example.test",
    "x-tradewind-subject": "00000000-0000-7000-8000-000000000001",
    "x-tradewind-caller": "payment-service",
    "x-tradewind-timeout-ms": "1",
    "x-caller-service": "payment-service",
    "x-forwarded-client-cert": "By=spiffe://tradewind/order;URI=spiffe://tradewind/payment",
    "x-forwarded-for": "10.0.0.1",
    "x-forwarded-host": "internal",
    "x-real-ip": "10.0.0.1",
    "x-envoy-original-path": "/v1/users",
    "x-envoy-internal": "true",
    "x-original-url": "/v1/users",
    "x-rewrite-url": "/v1/users",
    "x-http-method-override": "DELETE",
    "x_user_roles": "admin",
    "x-request-id": "mine",
}


async def test_headers_that_claim_an_identity_give_none(edge: Edge, target: Target) -> None:
    customer = target.customer
    faults = []
    for operation in target.operations:
        if operation.roles:
            body = msgspec.json.encode(BODIES[operation.name]) if operation.has_body else None
            sent = {**SPOOFED, "idempotency-key": new_id()}
            answer = await edge.ask(
                operation.method, operation.at(target.names), token=customer.token, headers=sent, data=body
            )
            faults += [f"{operation.name}: {fault}" for fault in answer.faults(403)]
            if answer.headers["x-request-id"] == "mine":
                faults.append(f"{operation.name}: a client's request id")
    assert faults == [], "\n".join(faults)
    me = await edge.ask("GET", "/v1/users/me", token=customer.token, headers=SPOOFED)
    assert (me.status, me.body["id"]) == (200, customer.id)


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


async def test_domain_refusals(edge: Edge, target: Target) -> None:
    """Well-formed, and still not to be had."""
    order, admin, customer = target.order, target.admin, target.customer
    sku = order["lines"][0]["sku"]
    nobody = "00000000-0000-7000-8000-000000000000"

    async def post(path: str, body: Any, token: str = customer.token) -> Answer:
        return await edge.ask(
            "POST", path, token=token, data=msgspec.json.encode(body), headers={"idempotency-key": new_id()}
        )

    def order_of(**changes: Any) -> dict[str, Any]:
        lines = [{"sku": sku, "quantity": 1}]
        return {"lines": lines, "payment_method": "pm_card_visa", "shipping_address": ADDRESS, **changes}

    euros = {"amount_minor": 1, "currency": "EUR"}
    attempts = {
        "an unknown SKU": (post("/v1/orders", order_of(lines=[{"sku": "no-such-thing", "quantity": 1}])), 422),
        "nothing": (post("/v1/orders", order_of(lines=[])), 422),
        "less than nothing": (post("/v1/orders", order_of(lines=[{"sku": sku, "quantity": -1}])), 422),
        "a million": (post("/v1/orders", order_of(lines=[{"sku": sku, "quantity": 10**6}])), 422),
        "a price of one's own": (
            post("/v1/orders", order_of(lines=[{"sku": sku, "quantity": 1, "unit_price": euros}])), 422,
        ),
        "two addresses": (post("/v1/orders", order_of(shipping_address_id=nobody)), 422),
        "somebody else's address": (
            post(
                "/v1/orders",
                {
                    "lines": order_of()["lines"],
                    "payment_method": "pm_card_visa",
                    "shipping_address_id": target.names["/v1/users/me/addresses/"],
                },
            ),
            422,
        ),
        "a refund by a customer": (post(f"/v1/orders/{order['id']}/refunds", {"reason": "please"}), 403),
        "a refund of nothing": (
            post(f"/v1/orders/{order['id']}/refunds", {"reason": "x", "amount": {**euros, "amount_minor": 0}}, admin), 422,
        ),
        "a refund below nothing": (
            post(f"/v1/orders/{order['id']}/refunds", {"reason": "x", "amount": {**euros, "amount_minor": -1}}, admin), 422,
        ),
        "a refund in dollars": (
            post(f"/v1/orders/{order['id']}/refunds", {"reason": "x", "amount": {**euros, "currency": "USD"}}, admin), 422,
        ),
        "a refund of too much": (
            post(f"/v1/orders/{order['id']}/refunds", {"reason": "x", "amount": {**euros, "amount_minor": 10**9}}, admin),
            409,
        ),
        "more than is there taken out": (post(f"/v1/products/{sku}/stock", {"delta": -(10**8)}, admin), 409),
        "a SKU twice": (post("/v1/products", {"sku": sku, "name": "x", "price": euros, "stock": 1}, admin), 409),
        "a currency that is none": (
            post("/v1/products", {"sku": "bad-input", "name": "x", "price": {**euros, "currency": "eur"}, "stock": 1}, admin),
            422,
        ),
        "an unsigned webhook": (post("/v1/payments/webhooks/sandbox", {"type": "charge.succeeded"}), 400),
        "a webhook of nobody's": (post("/v1/payments/webhooks/nobody", {}), 404),
    }  # fmt: skip
    faults = []
    for name, (attempt, status) in attempts.items():
        faults += [f"{name}: {fault}" for fault in (await attempt).faults(status)]
    assert faults == [], "\n".join(faults)
