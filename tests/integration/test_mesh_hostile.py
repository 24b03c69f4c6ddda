"""Requests made to hurt: smuggling, tricks of HTTP/2, slow clients, idle connections. Refused, and others are served."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator

import pytest

from tests.integration.mesh_lab import Echo, Lab, mesh_lab, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROUTES = (
    {"path": "/v1/open", "methods": ["GET", "POST"], "timeout_s": 5},
    {"path": "/v1/secret", "methods": ["GET"]},
)
IDLE = 10_000
RESERVE = 500
"""File descriptors that the rest of the test needs."""


@pytest.fixture(scope="module")
async def echo() -> AsyncIterator[Echo]:
    async with Echo("order-1").running() as echo:
        yield echo


@pytest.fixture(scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory, echo: Echo) -> AsyncIterator[Lab]:
    async with mesh_lab(tmp_path_factory.mktemp("hostile")) as lab:
        await lab.register("order-1", echo.port, *ROUTES)
        yield lab


async def still_serves(lab: Lab) -> None:
    async with lab.session.get(f"{lab.edge}/v1/open") as answer:
        assert answer.status == 200


SMUGGLED = b"GET /v1/secret HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"POST /v1/open HTTP/1.1\r\nHost: x\r\n"
SMUGGLING = {
    "a length and chunks": HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunks and a length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "two encodings": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "an encoding in disguise": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a space before the colon": HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a tab in the encoding": HEAD + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a folded header": HEAD + b"X-A: b\r\n Transfer-Encoding: chunked\r\nContent-Length: abc\r\n\r\n" + SMUGGLED,
    "two lengths": HEAD + b"Content-Length: 0\r\nContent-Length: 40\r\n\r\n" + SMUGGLED,
    "a list of lengths": HEAD + b"Content-Length: 0, 40\r\n\r\n" + SMUGGLED,
    "a length with a sign": HEAD + b"Content-Length: +40\r\n\r\n" + SMUGGLED,
    "a length in hexadecimal": HEAD + b"Content-Length: 0x28\r\n\r\n" + SMUGGLED,
    "a chunk size too large": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 17 + b"\r\n" + SMUGGLED,
    "a chunk size with a sign": HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n" + SMUGGLED,
    "a NUL in a value": HEAD + b"X-A: a\x00\r\n\r\n" + SMUGGLED,
}  # fmt: skip


@pytest.mark.parametrize("kind", SMUGGLING)
async def test_nothing_is_smuggled_past_the_edge(lab: Lab, echo: Echo, kind: str) -> None:
    echo.requests.clear()
    reader, writer = await asyncio.open_connection("127.0.0.1", lab.edge_port)
    writer.write(SMUGGLING[kind])
    async with asyncio.timeout(10):
        answer = await reader.read()  # until it is closed: nothing after a request like this is trusted
    writer.close()
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 ")), answer[:80]
    assert b"application/problem+json" in answer
    assert answer.count(b"HTTP/1.1 ") == 1
    assert not [request for request in echo.requests if "secret" in request]
    await still_serves(lab)


async def test_a_bare_line_feed_ends_no_body_early(lab: Lab, echo: Echo) -> None:
    """Envoy may take LF for CRLF; what counts is that the service sees the same requests as Envoy does."""
    echo.requests.clear()
    reader, writer = await asyncio.open_connection("127.0.0.1", lab.edge_port)
    writer.write(
        b"POST /v1/open HTTP/1.1\nHost: x\nConnection: close\nContent-Length: %d\n\n" % len(SMUGGLED) + SMUGGLED
    )
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    assert answer.count(b"HTTP/1.1 ") == 1
    assert not [request for request in echo.requests if "secret" in request]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """An HTTP/2 frame."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def headers(*fields: tuple[bytes, bytes]) -> bytes:
    """A header block of literals (HPACK without index and Huffman code)."""
    return b"".join(b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in fields)


GET = ((b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", b"/v1/open"))
TRICKS = {
    "a line break in a value": (*GET, (b"x-a", b"a\r\nx-user-id: root")),
    "a line break in a name": (*GET, (b"x-a\r\nx-user-id", b"root")),
    "a line break in the path": (*GET[:3], (b":path", b"/v1/open HTTP/1.1\r\nHost: y")),
    "a capital letter in a name": (*GET, (b"X-A", b"a")),
    "two paths": (*GET, (b":path", b"/v1/secret")),
    "no path": GET[:3],
    "an empty path": (*GET[:3], (b":path", b"")),
    "an unknown pseudo-header": (*GET, (b":admin", b"yes")),
    "a pseudo-header at the end": (*GET[:3], (b"x-a", b"a"), GET[3]),
    "a header of HTTP/1": (*GET, (b"transfer-encoding", b"chunked")),
    "a connection header": (*GET, (b"connection", b"close")),
    "a length that is none": (*GET, (b"content-length", b"abc")),
}


@pytest.mark.parametrize("kind", TRICKS)
async def test_tricks_of_http_2_reach_no_service(lab: Lab, echo: Echo, kind: str) -> None:
    echo.requests.clear()
    reader, writer = await asyncio.open_connection("127.0.0.1", lab.edge_port)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0) + frame(1, 0x5, 1, headers(*TRICKS[kind])))
    refused = b""
    async with asyncio.timeout(10):
        while not refused:
            try:
                head = await reader.readexactly(9)
            except (asyncio.IncompleteReadError, ConnectionError):
                refused = b"closed"
                break
            payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
            if head[3] in (3, 7):  # RST_STREAM, GOAWAY
                refused = b"reset"
            elif head[3] == 1:  # HEADERS: an answer, and not a good one (8 is `:status: 200` in HPACK's static table)
                assert 0x88 not in payload[:1]
                refused = b"answered"
    writer.close()
    assert echo.requests == []
    await still_serves(lab)


async def test_a_header_that_never_ends_is_408_after_ten_seconds(lab: Lab) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", lab.edge_port)

    async def drip() -> None:
        writer.write(b"GET /v1/open HTTP/1.1\r\nHost: x\r\n")
        while True:
            writer.write(b"X-A: a\r\n")
            await asyncio.sleep(0.5)

    dripping = asyncio.create_task(drip())
    try:
        async with asyncio.timeout(20):
            answer = await reader.readuntil(b"\r\n\r\n")
    finally:
        dripping.cancel()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 408 ")
    await still_serves(lab)


async def test_who_reads_nothing_holds_nobody_up(lab: Lab) -> None:
    """A hundred requests whose answers nobody takes; the others are served meanwhile."""
    _, writer = await asyncio.open_connection("127.0.0.1", lab.edge_port, limit=1024)
    writer.write((b"GET /v1/open HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 8000 + b"\r\n\r\n") * 100)
    try:
        for _ in range(20):
            await still_serves(lab)
    finally:
        writer.transport.abort()


async def test_ten_thousand_idle_connections_keep_nobody_out(lab: Lab) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = IDLE + RESERVE
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"not run: only {hard} file descriptors are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    idle: list[asyncio.StreamWriter] = []
    try:
        # Envoy takes 10,000 in all; what it cannot take, it closes, and those that are in are served on.
        keeps, keeper = await asyncio.open_connection("127.0.0.1", lab.edge_port)
        for _ in range(IDLE // 500):
            opened = await asyncio.gather(
                *(asyncio.open_connection("127.0.0.1", lab.edge_port) for _ in range(495)), return_exceptions=True
            )
            idle += [each[1] for each in opened if not isinstance(each, BaseException)]
        assert len(idle) > 0.95 * IDLE
        for _ in range(10):
            keeper.write(b"GET /v1/open HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(10):
                head = await keeps.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                await keeps.readexactly(length)
            assert head.startswith(b"HTTP/1.1 200 ")
        await still_serves(lab)
    finally:
        for writer in idle:
            writer.transport.abort()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    async def gone() -> bool:
        return int((await lab.status())["envoy"]["edge"].get("downstream_cx_active", 0)) < RESERVE

    await until(gone, "Envoy to see that they are gone")
