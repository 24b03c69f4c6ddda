"""What web pages need of the edge: compression, CORS, WebSockets, server-sent events. Behind it a server of aiohttp."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from tests.integration.mesh_lab import Lab, mesh_lab
from tradewind.mesh.cors import Cors, OriginError

pytestmark = pytest.mark.asyncio(loop_scope="module")

LONG = '{"a":"' + "b" * 5000 + '"}'
EXACT, WILD = "https://shop.test", "https://*.partner.test:8443"
ROUTES = (
    {"path": "/v1/things/{kind}", "methods": ["GET", "POST"]},
    {"path": "/v1/login", "methods": ["POST"], "rate": "auth"},
    {"path": "/v1/talk", "methods": ["GET"], "websocket": True, "timeout_s": 0.2},
    {"path": "/v1/plain", "methods": ["GET"]},
    {"path": "/v1/news", "methods": ["GET"], "stream": True, "timeout_s": 0.2},
)


class Server:
    """The service behind the edge; `/v1/news` says one thing for each `tick`."""

    def __init__(self) -> None:
        self.tick: asyncio.Queue[str] = asyncio.Queue()
        self.asked: list[str] = []

    async def thing(self, request: web.Request) -> web.Response:
        """Long or short, of one media type or another."""
        kinds = {
            "json": (LONG, "application/json"), "html": (LONG, "text/html"), "short": ("{}", "application/json"),
            "picture": (LONG, "image/png"), "events": (LONG, "text/event-stream"),
        }  # fmt: skip
        text, media_type = kinds[request.match_info["kind"]]
        return web.Response(text=text, content_type=media_type, headers={"etag": '"v7"'})

    async def login(self, _: web.Request) -> web.Response:
        """Something secret and long."""
        return web.Response(text=LONG, content_type="application/json")

    async def talk(self, request: web.Request) -> web.StreamResponse:
        """Say back what is said; after an upgrade only."""
        self.asked.append(request.headers.get("upgrade", "none"))
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(f"you said {message.data}")
        return socket

    async def news(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events."""
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(request)
        while (word := await self.tick.get()) != "end":
            await answer.write(f"data: {word}\n\n".encode())
        return answer


@pytest.fixture(scope="module")
def server() -> Server:
    return Server()


@pytest.fixture(scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory, server: Server) -> AsyncIterator[Lab]:
    app = web.Application()
    app.router.add_route("*", "/v1/things/{kind}", server.thing)
    app.router.add_post("/v1/login", server.login)
    app.router.add_get("/v1/talk", server.talk)
    app.router.add_get("/v1/plain", server.talk)
    app.router.add_get("/v1/news", server.news)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    folder = tmp_path_factory.mktemp("web")
    try:
        async with mesh_lab(folder, cors_origins=f"{EXACT}, {WILD}", rate_auth_burst=1000) as lab:
            await lab.register("order-1", port, *ROUTES)
            yield lab
    finally:
        await runner.cleanup()


async def encoding(lab: Lab, path: str, accepted: str, method: str = "GET") -> tuple[str, str, bytes]:
    """Content-Encoding and ETag of an answer, and its bytes as they came."""
    url, headers = lab.edge + path, {"accept-encoding": accepted}
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.request(method, url, headers=headers) as answer,
    ):
        assert answer.status == 200
        return answer.headers.get("content-encoding", ""), answer.headers.get("etag", ""), await answer.read()


async def test_long_text_is_compressed_for_who_asks(lab: Lab) -> None:
    found, tag, raw = await encoding(lab, "/v1/things/json", "gzip")
    assert (found, tag, gzip.decompress(raw).decode()) == ("gzip", 'W/"v7"', LONG)
    found, _, raw = await encoding(lab, "/v1/things/json", "gzip, br")
    assert found == "br"
    assert len(raw) < 200
    assert (await encoding(lab, "/v1/things/html", "gzip"))[0] == "gzip"
    assert await encoding(lab, "/v1/things/json", "identity") == ("", '"v7"', LONG.encode())


@pytest.mark.parametrize("kind", ["short", "picture", "events"])
async def test_what_is_short_or_no_text_or_a_stream_is_not(lab: Lab, kind: str) -> None:
    assert (await encoding(lab, f"/v1/things/{kind}", "gzip, br"))[:2] == ("", '"v7"')


async def test_what_holds_a_secret_is_not(lab: Lab) -> None:
    assert (await encoding(lab, "/v1/login", "gzip, br", "POST"))[0] == ""


async def preflight(lab: Lab, origin: str, method: str = "PATCH") -> tuple[int, dict[str, str]]:
    """What a browser asks before it lets a page of `origin` send a request."""
    headers = {"origin": origin, "access-control-request-method": method}
    async with lab.session.options(f"{lab.edge}/v1/things/json", headers=headers) as answer:
        return answer.status, {name.lower(): value for name, value in answer.headers.items()}


@pytest.mark.parametrize("origin", [EXACT, "https://a.partner.test:8443", "https://a.b.partner.test:8443"])
async def test_pages_of_a_named_origin_may_call(lab: Lab, origin: str) -> None:
    status, headers = await preflight(lab, origin)
    assert (status, headers["access-control-allow-origin"]) == (200, origin)
    assert "PATCH" in headers["access-control-allow-methods"]
    assert "Idempotency-Key" in headers["access-control-allow-headers"]
    assert headers["access-control-max-age"] == "600"
    assert "access-control-allow-credentials" not in headers
    async with lab.session.get(f"{lab.edge}/v1/things/json", headers={"origin": origin}) as answer:
        assert answer.headers["access-control-allow-origin"] == origin
        assert "Retry-After" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.test", "http://shop.test", "https://shop.test.evil.test", "https://partner.test:8443",
        "https://a.partner.test", "https://evil.test/a.partner.test:8443", "https://axpartner.test:8443", "null",
    ],
)  # fmt: skip
async def test_pages_of_another_origin_may_not(lab: Lab, origin: str) -> None:
    status, headers = await preflight(lab, origin)
    assert status == 200
    assert "access-control-allow-origin" not in headers  # without which a browser lets nothing through
    async with lab.session.get(f"{lab.edge}/v1/things/json", headers={"origin": origin}) as answer:
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "origin", ["shop.test", "https://shop.test/path", "https://*", "ftp://shop.test", "https://a*.test"]
)
async def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(OriginError, match="is no origin"):
        Cors.of(origin, credentials=False)


async def test_credentials_are_for_exact_origins_only() -> None:
    for origin in (WILD, "*"):
        with pytest.raises(OriginError, match="credentials only for origins named one by one"):
            Cors.of(f"{EXACT},{origin}", credentials=True)
    assert Cors.of(EXACT, credentials=True).credentials


async def test_a_declared_path_becomes_a_websocket_and_has_no_time_limit(lab: Lab) -> None:
    async with lab.session.ws_connect(f"{lab.edge}/v1/talk") as socket:
        await socket.send_str("one")
        assert await socket.receive_str() == "you said one"
        with pytest.raises(TimeoutError):  # silent for longer than the time-out of the route, and its grace
            await socket.receive(timeout=1.5)
        await socket.send_str("two")
        assert await socket.receive_str() == "you said two"


async def test_another_path_does_not(lab: Lab, server: Server) -> None:
    server.asked.clear()
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await lab.session.ws_connect(f"{lab.edge}/v1/plain")
    assert refused.value.status == 403
    headers = {"upgrade": "websocket", "connection": "upgrade", "sec-websocket-version": "13"}
    async with lab.session.get(f"{lab.edge}/v1/plain", headers=headers) as answer:
        assert (answer.status, (await answer.json())["code"]) == (403, "upgrade-refused")
    assert server.asked == []


async def test_events_are_neither_held_back_nor_compressed_nor_timed_out(lab: Lab, server: Server) -> None:
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.get(f"{lab.edge}/v1/news", headers={"accept-encoding": "gzip, br"}) as answer,
    ):
        assert "content-encoding" not in answer.headers
        assert answer.headers["content-type"] == "text/event-stream"
        for word in ("one", "two", "three"):
            # Each is there before the next is said; `timeout_s` of the route passes in between.
            server.tick.put_nowait(word)
            async with asyncio.timeout(5):
                assert await answer.content.readline() == f"data: {word}\n".encode()
                await answer.content.readline()
            if word == "two":
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(answer.content.read(1), 1.5)
        server.tick.put_nowait("end")
