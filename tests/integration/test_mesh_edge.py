"""The public edge, through a real Envoy: what gets in, what does not, and what the refusals look like."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.integration.mesh_lab import Echo, Issuer, Lab, mesh_lab, until
from tradewind.mesh.bootstrap import BootstrapSettings, bootstrap_config
from tradewind.mesh.envoy_binary import find_envoy

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROUTES: tuple[dict[str, Any], ...] = (
    {"path": "/v1/orders", "methods": ["GET"], "access": "signed-in"},
    {"path": "/v1/orders", "methods": ["POST"], "access": "signed-in", "idempotent": True, "max_body_bytes": 1000},
    {"path": "/v1/orders/{id}", "methods": ["GET"], "access": "roles", "roles": ["support"]},
    {"path": "/v1/orders/recent", "methods": ["GET"]},
    {"path": "/v1/orders/{id}/stream", "methods": ["GET"], "stream": True, "timeout_s": 0.1},
    {"path": "/v1/products", "methods": ["GET"], "access": "optional"},
    {"path": "/v1/open", "methods": ["GET", "POST"]},
    {"path": "/v1/open/hang", "methods": ["POST"], "timeout_s": 0.1},
)


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
async def echo(issuer: Issuer) -> AsyncIterator[Echo]:
    async with Echo("order-1", key_set=issuer.key_set).running() as echo:
        yield echo


@pytest.fixture(scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory, echo: Echo, issuer: Issuer) -> AsyncIterator[Lab]:
    async with mesh_lab(tmp_path_factory.mktemp("mesh")) as lab:
        await lab.register("auth-1", echo.port, {"path": "/.well-known/jwks.json", "methods": ["GET"]})
        await lab.register("order-1", echo.port, *ROUTES)
        await lab.register("user-1", 1, {"path": "/v1/users", "methods": ["GET"]})

        async def keys_arrived() -> bool:
            status, _, _ = await get(lab, "/v1/orders", token=issuer.token())
            return status == 200

        await until(keys_arrived, "the keys to reach Envoy")
        yield lab


async def get(
    lab: Lab, path: str, *, token: str = "", method: str = "GET", **options: Any
) -> tuple[int, dict[str, str], Any]:
    """Status, headers by lower-case name, and the JSON of an answer."""
    headers = {**options.pop("headers", {}), **({"authorization": f"Bearer {token}"} if token else {})}
    async with lab.session.request(method, lab.edge + path, headers=headers, **options) as answer:
        text = await answer.text()
        return (
            answer.status,
            {name.lower(): value for name, value in answer.headers.items()},
            json.loads(text or "null"),
        )


def assert_problem(answer: tuple[int, dict[str, str], Any], status: int, code: str) -> None:
    found, headers, body = answer
    assert (found, body["code"]) == (status, code)
    assert headers["content-type"] == "application/problem+json"
    assert body["status"] == status
    assert body["type"] == f"urn:tradewind:problem:{code}"
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == headers["x-request-id"]
    assert headers["server"] == "tradewind"


async def test_envoy_takes_the_bootstrap(tmp_path: Path) -> None:
    settings = BootstrapSettings(
        edge_port=1, egress_port=2, admin_port=3, gateway_port=4, control_port=5, otlp_endpoint="http://127.0.0.1:4318"
    )
    config = tmp_path / "envoy.json"
    config.write_text(json.dumps(bootstrap_config(settings)))
    command = [find_envoy(), "--mode", "validate", "--config-path", str(config)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert "eprecated" not in done.stderr


async def test_a_declared_path_reaches_its_service(lab: Lab) -> None:
    status, headers, body = await get(lab, "/v1/open?a=1")
    assert (status, body["name"], body["path"]) == (200, "order-1", "/v1/open?a=1")
    assert headers["x-request-id"] == body["headers"]["x-request-id"]
    assert not [name for name in headers if name.startswith(("x-envoy", "x-tradewind", "x-ratelimit"))]


async def test_an_unknown_path_is_404(lab: Lab) -> None:
    for path in ("/", "/v1", "/v1/orders/", "/v1/orderss", "/v1/open/what", "/v1/orders/a/b/c", "/v2/orders"):
        assert_problem(await get(lab, path), 404, "not-found")


async def test_another_method_is_405_and_says_which_would_do(lab: Lab) -> None:
    answer = await get(lab, "/v1/orders", method="DELETE")
    assert_problem(answer, 405, "method-not-allowed")
    assert answer[1]["allow"] == "GET, HEAD, POST"
    _, headers, _ = await get(lab, "/v1/orders/7", method="POST", data=b"x")
    assert headers["allow"] == "GET, HEAD"


async def test_head_is_answered_where_get_is(lab: Lab) -> None:
    async with lab.session.head(f"{lab.edge}/v1/open") as answer:
        assert answer.status == 200


async def test_the_most_specific_template_wins(lab: Lab) -> None:
    status, _, body = await get(lab, "/v1/orders/recent")
    assert (status, body["path"]) == (200, "/v1/orders/recent")
    assert_problem(await get(lab, "/v1/orders/7"), 401, "token-missing")


@pytest.mark.parametrize(
    "path",
    ["/v1/instances", "/v1/mesh", "/v3/discovery:routes", "/livez", "/readyz", "/metrics", "/stats", "/config_dump"],
)
async def test_what_is_not_public_is_not_there(lab: Lab, path: str) -> None:
    assert_problem(await get(lab, path), 404, "not-found")


async def test_headers_that_claim_an_identity_never_arrive(lab: Lab, issuer: Issuer) -> None:
    spoofed = {
        "X-User-Id": "root", "X-User-Roles": "admin", "x-caller-service": "payment-service", "X-Tradewind-Subject": "root",
        "x-tradewind-caller": "order-service", "x-tradewind-timeout-ms": "1", "X-Envoy-Original-Path": "/admin",
        "x-envoy-retry-on": "5xx", "x-forwarded-client-cert": "By=spiffe://x", "X-Forwarded-For": "8.8.8.8",
        "X-Forwarded-Host": "evil", "X-Real-Ip": "8.8.8.8", "x_user_id": "root",
    }  # fmt: skip
    for path, token in (("/v1/open", ""), ("/v1/open", issuer.token()), ("/v1/orders", issuer.token())):
        status, _, body = await get(lab, path, token=token, headers=spoofed)
        assert status == 200
        arrived = body["headers"]
        assert arrived["x-forwarded-for"] == "127.0.0.1"
        assert not [
            name for name in arrived if name.startswith(("x-user", "x-caller", "x-tradewind", "x-envoy", "x-real"))
        ]
        assert not {"x-forwarded-client-cert", "x-forwarded-host", "x_user_id"} & arrived.keys()
        assert "root" not in json.dumps(arrived)


async def test_request_ids_are_ours(lab: Lab) -> None:
    _, headers, body = await get(lab, "/v1/open", headers={"X-Request-Id": "mine"})
    assert body["headers"]["x-request-id"] == headers["x-request-id"] != "mine"


async def test_a_trace_id_from_outside_is_kept_and_its_sampling_is_not(lab: Lab) -> None:
    trace_id = "0123456789abcdef0123456789abcdef"
    _, _, body = await get(lab, "/v1/open", headers={"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"})
    version, kept, span, flags = body["headers"]["traceparent"].split("-")
    assert (version, kept, flags) == ("00", trace_id, "00")
    assert span != "00f067aa0ba902b7"


async def test_everything_has_a_traceparent(lab: Lab) -> None:
    _, _, body = await get(lab, "/v1/open")
    assert len(body["headers"]["traceparent"]) == 55


async def test_a_valid_token_passes_and_is_handed_on(lab: Lab, issuer: Issuer) -> None:
    token = issuer.token("u-7")
    for _ in range(2):  # the second time from Envoy's cache
        status, _, body = await get(lab, "/v1/orders", token=token)
        assert (status, body["headers"]["authorization"]) == (200, f"Bearer {token}")


async def test_bad_tokens_are_401(lab: Lab, issuer: Issuer) -> None:
    genuine = issuer.token()
    header, payload, signature = genuine.split(".")
    unsigned = "eyJhbGciOiJub25lIn0." + payload + "."
    cases = {
        "token-expired": [issuer.token(expires_in_s=-10)],
        "token-invalid": [
            Issuer().token(),
            Issuer("other").token(),
            issuer.token(iss="somebody"),
            issuer.token(aud="somebody"),
            issuer.token(exp=None),
            f"{header}.{payload}.{signature[:-4]}AAAA",
            unsigned,
            "junk",
        ],
    }
    for code, tokens in cases.items():
        for token in tokens:
            answer = await get(lab, "/v1/orders", token=token)
            assert_problem(answer, 401, code)
            assert answer[1]["www-authenticate"].startswith("Bearer")
    assert_problem(await get(lab, "/v1/orders"), 401, "token-missing")
    assert_problem(await get(lab, f"/v1/orders?access_token={genuine}"), 401, "token-missing")


async def test_a_token_that_expires_is_refused_also_from_the_cache(lab: Lab, issuer: Issuer) -> None:
    token = issuer.token(expires_in_s=-3)  # within the allowed skew of 5 s

    async def refused() -> bool:
        status, _, body = await get(lab, "/v1/orders", token=token)
        return status == 401 and body["code"] == "token-expired"

    assert not await refused()
    await until(refused, "the cached token to expire", patience_s=8)


async def test_an_optional_token_may_be_missing_but_not_wrong(lab: Lab, issuer: Issuer) -> None:
    assert (await get(lab, "/v1/products"))[0] == 200
    assert (await get(lab, "/v1/products", token=issuer.token()))[0] == 200
    assert_problem(await get(lab, "/v1/products", token="junk"), 401, "token-invalid")


async def test_a_stale_token_does_not_bar_a_public_path(lab: Lab, issuer: Issuer) -> None:
    for token in ("junk", issuer.token(expires_in_s=-1000)):
        assert (await get(lab, "/v1/open", token=token))[0] == 200


async def test_a_long_body_is_413(lab: Lab, issuer: Issuer) -> None:
    within = await get(lab, "/v1/orders", method="POST", token=issuer.token(), data=b"x" * 1000)
    assert within[0] == 200
    beyond = await get(lab, "/v1/orders", method="POST", token=issuer.token(), data=b"x" * 1001)
    assert_problem(beyond, 413, "body-too-large")


async def test_a_body_of_a_million_bytes_passes_where_it_may(lab: Lab) -> None:
    status, _, body = await get(lab, "/v1/open", method="POST", data=b"x" * 1_000_000)
    assert (status, len(body["body"])) == (200, 1_000_000)
    assert (await get(lab, "/v1/open", method="POST", data=b"x" * 1_100_000))[0] == 413


async def test_a_stream_is_passed_on_as_it_comes_and_has_no_time_limit(lab: Lab) -> None:
    loop = asyncio.get_running_loop()
    arrivals_s = []
    async with lab.session.get(f"{lab.edge}/v1/orders/7/stream") as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        async for line in answer.content:
            if not line.strip():
                continue
            arrivals_s.append(loop.time())
    assert len(arrivals_s) == 3
    assert min(later - earlier for earlier, later in itertools.pairwise(arrivals_s)) > 0.2


async def test_a_service_that_takes_too_long_is_504(lab: Lab) -> None:
    answer = await get(lab, "/v1/open/hang", method="POST", data=b"x")
    assert_problem(answer, 504, "upstream-timeout")


async def test_a_service_that_is_down_is_503_with_retry_after(lab: Lab) -> None:
    answer = await get(lab, "/v1/users")
    assert_problem(answer, 503, "upstream-unavailable")
    assert answer[1]["retry-after"] == "1"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GARBAGE\r\n\r\n", 400),
        (b"GET /v1/open HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n", 400),
        (b"POST /v1/open HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET /v1/open HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET /v1/open HTTP/1.1\r\n\r\n", 400),
        (b"GET /v1%2Fopen HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /v1/open%00 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /v1/open HTTP/1.1\r\nHost: x\r\nX-User-Id : 1\r\n\r\n", 400),
        (b"GET /v1/open HTTP/1.0\r\nHost: x\r\n\r\n", 426),
        (b"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n", 404),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /v1/open HTTP/1.1\r\nHost: x\r\n" + b"".join(b"a%d: 1\r\n" % n for n in range(120)) + b"\r\n", 431),
        (b"GET /v1/open HTTP/1.1\r\nHost: x\r\na: " + b"a" * 40_000 + b"\r\n\r\n", 431),
    ],
)
async def test_malformed_requests_are_refused_with_a_problem(lab: Lab, request_bytes: bytes, status: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", lab.edge_port)
    writer.write(request_bytes)
    async with asyncio.timeout(5):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
        problem = json.loads(await reader.readexactly(length))
    writer.close()
    assert head.startswith(f"HTTP/1.1 {status} ")
    assert "application/problem+json" in head
    assert problem["status"] == status
    assert problem["request_id"]


async def test_paths_are_normalized_before_they_are_matched(lab: Lab) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", lab.edge_port)
    writer.write(b"GET /v1/open/..//orders/./7 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = (await reader.read()).decode()
    writer.close()
    assert answer.startswith("HTTP/1.1 401 ")  # what /v1/orders/7 asks for


async def test_the_access_log_has_what_is_needed_and_no_secret(lab: Lab, issuer: Issuer) -> None:
    token = issuer.token()
    _, headers, body = await get(lab, "/v1/orders?coupon=topsecret", token=token)

    def line() -> dict[str, Any] | None:
        lines = [json.loads(text) for text in lab.access_log.read_text().splitlines()]
        return next((entry for entry in lines if entry.get("request_id") == headers["x-request-id"]), None)

    entry = await until(line, "the access log to be written", patience_s=15)
    assert (entry["method"], entry["path"], entry["status"], entry["route"]) == (
        "GET",
        "/v1/orders",
        200,
        "GET /v1/orders",
    )
    assert entry["trace_id"] == body["headers"]["traceparent"].split("-")[1]
    text = lab.access_log.read_text()
    assert "topsecret" not in text
    assert token not in text
    assert token.split(".")[2] not in text


async def test_rate_limits_by_subject_by_address_and_for_logins(tmp_path: Path) -> None:
    issuer = Issuer()
    limits = {
        "rate_subject_per_s": 1, "rate_subject_burst": 4, "rate_address_per_s": 1, "rate_address_burst": 3,
        "rate_auth_per_s": 1, "rate_auth_burst": 2,
    }  # fmt: skip
    async with Echo("auth-1", key_set=issuer.key_set).running() as echo, mesh_lab(tmp_path, **limits) as lab:
        await lab.register(
            "auth-1", echo.port,
            {"path": "/v1/auth/login", "methods": ["POST"], "rate": "auth"},
            {"path": "/v1/auth/password/change", "methods": ["POST"], "rate": "auth", "access": "signed-in"},
            {"path": "/v1/me", "methods": ["GET"], "rate": "default", "access": "optional"},
            {"path": "/v1/free", "methods": ["GET"], "rate": "none"},
        )  # fmt: skip

        async def keys_arrived() -> bool:
            return (await get(lab, "/v1/me", token=issuer.token(f"probe-{asyncio.get_running_loop().time()}")))[
                0
            ] == 200

        await until(keys_arrived, "the keys to reach Envoy")

        async def statuses(count: int, path: str, **options: Any) -> list[int]:
            return [(await get(lab, path, **options))[0] for _ in range(count)]

        assert await statuses(5, "/v1/me", token=issuer.token("u-1")) == [200, 200, 200, 200, 429]
        assert await statuses(1, "/v1/me", token=issuer.token("u-2")) == [200]
        assert await statuses(4, "/v1/me") == [200, 200, 200, 429]
        logins = [await get(lab, "/v1/auth/login", method="POST", data=b"x") for _ in range(3)]
        assert [answer[0] for answer in logins] == [200, 200, 429]
        guess = {"method": "POST", "data": b"x"}
        assert await statuses(3, "/v1/auth/password/change", token=issuer.token("u-3"), **guess) == [200, 200, 429]
        assert await statuses(1, "/v1/auth/password/change", token=issuer.token("u-4"), **guess) == [200]
        assert await statuses(6, "/v1/free") == [200] * 6

        assert logins[0][1]["ratelimit"] == '"auth";r=1;t=0'
        assert logins[0][1]["ratelimit-policy"] == '"auth";q=2;w=2'
        refused = logins[2]
        assert_problem(refused, 429, "rate-limited")
        assert refused[1]["retry-after"] == "1"
        assert refused[1]["ratelimit"] == '"auth";r=0;t=1'
        assert refused[1]["ratelimit-policy"] == '"auth";q=2;w=2'
        for path in ("/v1/free", "/nowhere"):
            assert "ratelimit" not in (await get(lab, path))[1]

        async def again() -> bool:
            return (await get(lab, "/v1/me", token=issuer.token("u-1")))[0] == 200

        await until(again, "the bucket to fill up", patience_s=5)


async def test_a_refused_connection_does_not_stay(lab: Lab) -> None:
    """A client that sends half a request and waits is not served, and does not keep others from it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", lab.edge_port)
    writer.write(b"POST /v1/open HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
    await writer.drain()
    async with aiohttp.ClientSession() as session, session.get(f"{lab.edge}/v1/open") as answer:
        assert answer.status == 200
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await reader.read(1)
    writer.close()
