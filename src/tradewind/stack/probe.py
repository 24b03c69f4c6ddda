"""Is it up yet? Asked every few milliseconds of many processes, so on raw sockets and without an HTTP client."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from urllib.parse import urlsplit

_MAX_ANSWER_BYTES = 256 * 1024
_API_VERSIONS = 18
_CORRELATION = 7


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, as much of it as fits 256 kB. `status` 0: nobody answered."""

    status: int
    body: bytes = b""


async def http(url: str, *, method: str = "GET", timeout_s: float = 1.0) -> Answer:
    """Ask `url` (plain http) without a body. Never raises: no answer within `timeout_s` is status 0."""
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    host = parts.hostname or "127.0.0.1"
    request = f"{method} {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    said = await _exchange(host, parts.port or 80, request.encode(), timeout_s)
    head, _, body = said.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    if len(words) < 2 or not words[1][:3].isdigit():
        return Answer(0)
    if b"transfer-encoding: chunked" in head.lower():
        body = _joined(body)
    return Answer(int(words[1][:3]), body)


async def valkey(host: str, port: int, password: str, *, timeout_s: float = 1.0) -> bool:
    """Whether a Valkey answers PING (it refuses while it loads its data)."""
    request = f"AUTH {password}\r\nPING\r\nQUIT\r\n"
    return b"+PONG" in await _exchange(host, port, request.encode(), timeout_s)


async def smtp(host: str, port: int, *, timeout_s: float = 1.0) -> bool:
    """Whether a mail server greets."""
    return (await _exchange(host, port, b"QUIT\r\n", timeout_s)).startswith(b"220")


async def listens(host: str, port: int, *, timeout_s: float = 1.0) -> bool:
    """Whether anybody takes connections there."""
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
    except (OSError, TimeoutError):
        return False
    return True


async def kafka(host: str, port: int, *, timeout_s: float = 1.0) -> bool:
    """Whether a Kafka broker answers: it is asked which requests it knows (ApiVersions, version 0)."""
    request = struct.pack(">ihhih", 10, _API_VERSIONS, 0, _CORRELATION, -1)
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(request)
                size, correlation, error = struct.unpack(">iih", await reader.readexactly(10))
            finally:
                writer.close()
    except (OSError, TimeoutError, EOFError):
        return False
    return bool(size > 0 and correlation == _CORRELATION and error == 0)


async def _exchange(host: str, port: int, request: bytes, timeout_s: float) -> bytes:
    """Send, then read until the other side closes. Empty when it cannot be reached in time."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(request)
                await writer.drain()
                said = bytearray()
                while len(said) < _MAX_ANSWER_BYTES and (chunk := await reader.read(65536)):
                    said += chunk
                return bytes(said)
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return b""


def _joined(body: bytes) -> bytes:
    """A chunked body in one piece; what does not parse is left out."""
    whole = bytearray()
    while body:
        size, _, rest = body.partition(b"\r\n")
        try:
            length = int(size.split(b";")[0], 16)
        except ValueError:
            break
        whole += rest[:length]
        body = rest[length + 2 :]
    return bytes(whole)
