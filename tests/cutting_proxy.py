"""A TCP proxy in front of an HTTP server that loses a request on its way, or the answer to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from enum import StrEnum

CHUNK = 64 * 1024


class Cut(StrEnum):
    """What becomes of the next request that comes. PASS: nothing."""

    PASS = "pass"
    REQUEST = "the connection breaks before the server hears of it"
    ANSWER = "the server does it, and the connection breaks before its answer"
    SILENCE = "the server does it, and its answer stays on the way"


class CuttingProxy:
    """Listens on a free port. `cuts` meet the next requests, in order; then all pass. `answered` counts the server's answers."""

    def __init__(self, port: int) -> None:
        """`port`: of the server, on loopback."""
        self._upstream = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.cuts: deque[Cut] = deque()
        self.answered = 0

    @property
    def url(self) -> str:
        """Where a client goes."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Break every connection."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._pass_on(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        try:
            while True:
                request = await _message(reader)
                cut = self.cuts.popleft() if self.cuts else Cut.PASS
                if cut is Cut.REQUEST:
                    return
                up_writer.write(request)
                await up_writer.drain()
                answer = await _message(up_reader)
                self.answered += 1
                if cut is Cut.ANSWER:
                    return
                if cut is Cut.SILENCE:
                    await asyncio.Event().wait()
                writer.write(answer)
                await writer.drain()
        finally:
            up_writer.transport.abort()


async def _message(reader: asyncio.StreamReader) -> bytes:
    """One HTTP/1.1 message with a content length, or in chunks. Raises IncompleteReadError: there is none."""
    head = await reader.readuntil(b"\r\n\r\n")
    fields = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
    }
    if fields.get(b"transfer-encoding") == b"chunked":
        body = b""
        while not body.endswith(b"0\r\n\r\n"):
            body += await reader.readuntil(b"\r\n")
        return head + body
    return head + await reader.readexactly(int(fields.get(b"content-length", b"0")))


@contextlib.asynccontextmanager
async def cutting_proxy(port: int) -> AsyncIterator[CuttingProxy]:
    """A started one."""
    proxy = CuttingProxy(port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
