"""Calls over real sockets: to a service through the mesh, and to a provider outside, when they fail in every way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from tradewind.chassis import request_scope, trace
from tradewind.chassis.breaker import Breaker, State
from tradewind.chassis.client import MAX_ANSWER_BYTES, MeshClient
from tradewind.chassis.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Problem,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from tradewind.chassis.metrics import Metrics
from tradewind.chassis.third_party import NotSent, OutcomeUnknown, ThirdPartyClient


class User(msgspec.Struct):
    id: str
    name: str


class Egress:
    """Stands where the mesh egress stands: keeps what it got, answers what the test wants."""

    def __init__(self) -> None:
        self.got: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.answer: Callable[[web.Request], Awaitable[web.StreamResponse]] = self._user
        self.url = ""

    async def _user(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"id": "u-1", "name": "Ada", "more": "than asked for"})

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.got.append(request)
        self.bodies.append(await request.read())
        return await self.answer(request)

    def say(self, status: int, body: bytes = b"", **headers: str) -> None:
        async def answer(request: web.Request) -> web.StreamResponse:
            return web.Response(status=status, body=body, headers=headers)

        self.answer = answer

    def say_problem(self, status: int, code: str, **more: object) -> None:
        body = json.dumps({"code": code, "detail": "Because.", "status": status} | more).encode()
        self.say(status, body, **{"content-type": "application/problem+json"})


@pytest.fixture
async def egress() -> AsyncIterator[Egress]:
    found = Egress()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def mesh(egress: Egress, metrics: Metrics) -> AsyncIterator[MeshClient]:
    found = MeshClient(egress.url, "order-service", metrics=metrics)
    yield found
    await found.close()


@pytest.fixture
async def deaf() -> AsyncIterator[str]:
    """A server that takes requests and hangs up without an answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()


async def calls(metrics: Metrics) -> dict[tuple[str, str], float]:
    text = (await metrics.render()).decode()
    return {
        (sample.labels["target"], sample.labels["status"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "http_client_request_duration_seconds_count"
    }


async def hang(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(30)
    return web.Response()


async def test_a_call_is_typed_and_named(egress: Egress, mesh: MeshClient, metrics: Metrics) -> None:
    with trace.use_traceparent(None) as context, request_scope.use_request("r-1", timeout_s=1.0):
        user = await mesh.get("user-service", "/v1/users/{id}", path_params={"id": "u 1"}, token="t", type=User)
    assert user == User("u-1", "Ada")
    (request,) = egress.got
    assert request.headers["host"] == "user-service"
    assert request.raw_path == "/v1/users/u%201"
    assert request.headers["traceparent"] == context.traceparent
    assert request.headers["x-request-id"] == "r-1"
    assert request.headers["authorization"] == "Bearer t"
    assert 0 < int(request.headers["x-tradewind-timeout-ms"]) <= 1000
    assert request.headers["user-agent"] == "tradewind/order-service"
    assert await calls(metrics) == {("user-service", "2xx"): 1.0}


async def test_every_method_and_an_answer_nobody_reads(egress: Egress, mesh: MeshClient) -> None:
    egress.say(204)
    await mesh.post("user-service", "/a", body={"x": 1}, idempotency_key="k")
    await mesh.put("user-service", "/a", body=User("u", "n"))
    await mesh.delete("user-service", "/a", params={"q": "1 2"})
    await mesh.get("user-service", "/a")
    assert [request.method for request in egress.got] == ["POST", "PUT", "DELETE", "GET"]
    assert egress.got[0].headers["idempotency-key"] == "k"
    assert egress.bodies[:2] == [b'{"x":1}', b'{"id":"u","name":"n"}']
    assert egress.got[2].query["q"] == "1 2"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Invalid),
        (401, Unauthenticated),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (412, Conflict),
        (413, Invalid),
        (415, Invalid),
        (422, Invalid),
        (429, RateLimited),
    ],
)
async def test_a_problem_comes_back_as_its_kind(
    egress: Egress, mesh: MeshClient, status: int, kind: type[Problem]
) -> None:
    egress.say_problem(status, "some-code", errors=[{"pointer": "/a", "code": "c", "detail": "d"}])
    with pytest.raises(kind) as caught:
        await mesh.get("user-service", "/a", type=User)
    assert (caught.value.code, caught.value.detail, caught.value.status) == ("some-code", "Because.", status)
    assert caught.value.errors[0].pointer == "/a"


@pytest.mark.parametrize("status", [301, 405, 418, 500, 502, 503, 504])
async def test_what_is_the_services_own_fault_is_unavailable_and_names_it(
    egress: Egress, mesh: MeshClient, metrics: Metrics, status: int
) -> None:
    egress.say_problem(status, "secret-inner-code")
    with pytest.raises(Unavailable) as caught:
        await mesh.get("user-service", "/a", type=User)
    assert caught.value.code == "upstream-unavailable"
    assert caught.value.status == 503
    assert "user-service" in caught.value.detail
    assert await calls(metrics) == {("user-service", f"{status // 100}xx"): 1.0}


async def test_what_the_proxy_answers_by_itself_has_a_code_too(egress: Egress, mesh: MeshClient) -> None:
    egress.say(404, b"no such route")
    with pytest.raises(NotFound) as missing:
        await mesh.get("user-service", "/a", type=User)
    egress.say(429, b"local_rate_limited", **{"retry-after": "7"})
    with pytest.raises(RateLimited) as limited:
        await mesh.get("user-service", "/a", type=User)
    egress.say(409, b"{not json", **{"content-type": "application/problem+json"})
    with pytest.raises(Conflict) as broken:
        await mesh.get("user-service", "/a", type=User)
    assert (missing.value.code, limited.value.code, limited.value.retry_after_s) == ("not-found", "rate-limited", 7.0)
    assert broken.value.code == "conflict"


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"id": 7}', b"[]"])
async def test_an_answer_of_another_shape_is_no_answer(egress: Egress, mesh: MeshClient, body: bytes) -> None:
    egress.say(200, body)
    with pytest.raises(Unavailable) as caught:
        await mesh.get("user-service", "/a", type=User)
    assert caught.value.code == "upstream-invalid-answer"


async def test_an_endless_answer_is_cut_off(egress: Egress, mesh: MeshClient) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        with contextlib.suppress(ConnectionError):
            for _ in range(MAX_ANSWER_BYTES // 65_536 + 100):
                await answer.write(b"x" * 65_536)
        return answer

    egress.answer = endless
    with pytest.raises(Unavailable) as caught:
        await mesh.get("user-service", "/a", type=User, timeout_s=30.0)
    assert caught.value.code == "upstream-unavailable"


async def test_a_redirect_is_not_followed(egress: Egress, mesh: MeshClient) -> None:
    async def elsewhere(request: web.Request) -> web.StreamResponse:
        if request.path == "/a":
            raise web.HTTPFound("/b")
        return web.json_response({"id": "u-2", "name": "Eve"})

    egress.answer = elsewhere
    with pytest.raises(Unavailable):
        await mesh.get("user-service", "/a", token="t", type=User)
    assert len(egress.got) == 1


async def test_a_time_out_is_kept(egress: Egress, mesh: MeshClient, metrics: Metrics) -> None:
    egress.answer = hang
    started_s = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        await mesh.get("user-service", "/a", timeout_s=0.1)
    assert caught.value.code == "upstream-unavailable"
    with request_scope.use_request("r-1", timeout_s=0.1), pytest.raises(Unavailable):
        await mesh.get("user-service", "/a", timeout_s=20.0)
    assert time.monotonic() - started_s < 2.0
    assert await calls(metrics) == {("user-service", "none"): 2.0}


async def test_no_egress_and_one_that_hangs_up(deaf: str) -> None:
    for url in ("http://127.0.0.1:1", deaf, ""):
        mesh = MeshClient(url, "order-service")
        with pytest.raises(Unavailable) as caught:
            await mesh.post("user-service", "/a", body={})
        assert caught.value.code == "upstream-unavailable"
        await mesh.close()


async def test_more_calls_than_connections_wait_their_turn(egress: Egress) -> None:
    mesh = MeshClient(egress.url, "order-service", pool_size=4)
    users = await asyncio.gather(*(mesh.get("user-service", "/a", type=User) for _ in range(40)))
    assert len(users) == 40
    assert len({request.transport for request in egress.got}) <= 4
    await mesh.close()


@pytest.fixture
async def provider(egress: Egress, metrics: Metrics) -> AsyncIterator[ThirdPartyClient]:
    breaker = Breaker(least_calls=4, open_s=0.2, probes=1)
    found = ThirdPartyClient(egress.url, "psp", headers={"authorization": "key"}, breaker=breaker, metrics=metrics)
    yield found
    await found.close()


async def test_a_provider_is_asked_without_our_trace_and_its_errors_are_answers(
    egress: Egress, provider: ThirdPartyClient
) -> None:
    egress.say(402, b'{"code":"card_declined"}', **{"x-psp": "1"})
    with trace.use_traceparent(None), request_scope.use_request("r-1"):
        answer = await provider.call("POST", "/v1/charges?x=%2F", body=b"{}", headers={"idempotency-key": "k"})
    assert (answer.status, answer.body, answer.headers["x-psp"]) == (402, b'{"code":"card_declined"}', "1")
    (request,) = egress.got
    assert request.raw_path == "/v1/charges?x=%2F"
    assert (request.headers["authorization"], request.headers["idempotency-key"]) == ("key", "k")
    assert "traceparent" not in request.headers
    assert "x-request-id" not in request.headers


async def test_a_provider_that_cannot_be_reached_was_not_asked() -> None:
    provider = ThirdPartyClient("http://127.0.0.1:1", "psp")
    with pytest.raises(NotSent):
        await provider.call("POST", "/v1/charges", body=b"{}")
    with request_scope.use_request("r-1", timeout_s=0.0), pytest.raises(NotSent) as caught:
        await provider.call("POST", "/v1/charges", body=b"{}")
    assert caught.value.code == "deadline-exceeded"
    await provider.close()


async def test_a_provider_that_took_the_request_and_said_nothing_may_have_acted(
    egress: Egress, provider: ThirdPartyClient, deaf: str
) -> None:
    egress.answer = hang
    with pytest.raises(OutcomeUnknown):
        await provider.call("POST", "/v1/charges", body=b"{}", timeout_s=0.1)
    silent = ThirdPartyClient(deaf, "psp")
    with pytest.raises(OutcomeUnknown):
        await silent.call("POST", "/v1/charges", body=b"{}")
    await silent.close()


async def test_a_failing_provider_is_left_alone_and_tried_again(
    egress: Egress, provider: ThirdPartyClient, metrics: Metrics
) -> None:
    egress.say(500)
    for _ in range(4):
        assert (await provider.call("GET", "/x")).status == 500
    assert provider.state is State.OPEN
    with pytest.raises(NotSent) as caught:
        await provider.call("GET", "/x")
    assert caught.value.retry_after_s is not None
    assert len(egress.got) == 4
    assert 'circuit_state{target="psp"} 2.0' in (await metrics.render()).decode()
    egress.say(200)
    async with asyncio.timeout(5):
        while True:
            with contextlib.suppress(NotSent):
                await provider.call("GET", "/x")
                break
            await asyncio.sleep(0.02)
    assert provider.state is State.CLOSED


async def test_a_caller_that_gives_up_says_nothing_about_the_provider(
    egress: Egress, provider: ThirdPartyClient
) -> None:
    egress.answer = hang
    for _ in range(10):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await provider.call("GET", "/x")
    assert provider.state is State.CLOSED
