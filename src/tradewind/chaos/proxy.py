"""A TCP proxy that can be unkind: it stops passing bytes, refuses, delays, or cuts connections with a reset.

What the kernel's `tc netem` would do, for one connection of one process. It knows nothing of what flows through it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import TypeAlias

Address: TypeAlias = tuple[str, int]

CHUNK_BYTES = 64 * 1024
CONNECT_TIMEOUT_S = 5.0
BACKLOG = 256
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER on, for 0 s: closing sends a reset."""


class Proxy:
    """Listens on a free port of loopback and passes everything on to `target()`, which is asked at each connection."""

    def __init__(self, target: Callable[[], Address | None], host: str = "127.0.0.1") -> None:
        """Without a target (None: it is not there now) a new connection is closed with a reset."""
        self._target = target
        self._host = host
        self._port = 0
        self._server: asyncio.Server | None = None
        self._passing = asyncio.Event()
        self._passing.set()
        self._delay_s = 0.0
        self._cut_after_bytes: int | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        """How many were accepted so far."""
        self.passed_bytes = 0

    @property
    def port(self) -> int:
        """Where it listens; the same for its whole life."""
        return self._port

    @property
    def open_connections(self) -> int:
        """How many connections go through it now."""
        return len(self._tasks)

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, self._host, self._port, backlog=BACKLOG)
        self._port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Cut everything and stop listening."""
        self._stop_listening()
        self.reset()
        if self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def stall(self) -> None:
        """A partition as the network makes it: connections stay, new ones are accepted, no byte passes."""
        self._passing.clear()

    def refuse(self) -> None:
        """A partition as a dead host's kernel makes it: all connections are cut, new ones are refused."""
        self._stop_listening()
        self.reset()

    def delay(self, seconds: float) -> None:
        """Each chunk, either way, arrives so much later."""
        self._delay_s = seconds

    def cut_after(self, size: int) -> None:
        """Cut what is open, and each connection from now on once it has passed `size` bytes: in the middle of something."""
        self._cut_after_bytes = size
        self.reset()

    def reset(self) -> None:
        """Cut all connections with a reset."""
        for writer in list(self._open):
            _abort(writer)

    async def heal(self) -> None:
        """Pass everything on again; what was held back goes its way."""
        self._delay_s = 0.0
        self._cut_after_bytes = None
        self._passing.set()
        if self._server is None:
            await self.open()

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            async with self._kept(writer):
                await self._serve(reader, writer)
        finally:
            self._tasks.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._passing.wait()
        target = self._target()
        if target is None:
            _abort(writer)
            return
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                onward_reader, onward_writer = await asyncio.open_connection(*target)
        except (OSError, TimeoutError):
            _abort(writer)
            return
        async with self._kept(onward_writer):
            left = _Allowance(self)
            both = (
                asyncio.create_task(self._pump(reader, onward_writer, left)),
                asyncio.create_task(self._pump(onward_reader, writer, left)),
            )
            try:
                await asyncio.gather(*both)
            except (OSError, _CutError):
                for each in (writer, onward_writer):
                    _abort(each)
            finally:
                for pump in both:
                    pump.cancel()
                await asyncio.gather(*both, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: _Allowance) -> None:
        while data := await reader.read(CHUNK_BYTES):
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            await self._passing.wait()
            data, cut = left.take(data)
            writer.write(data)
            await writer.drain()
            self.passed_bytes += len(data)
            if cut:
                raise _CutError
        await self._passing.wait()
        if writer.can_write_eof():
            writer.write_eof()

    @contextlib.asynccontextmanager
    async def _kept(self, writer: asyncio.StreamWriter) -> AsyncIterator[None]:
        self._open.add(writer)
        try:
            yield
        finally:
            self._open.discard(writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class _CutError(Exception):
    """The connection has passed what it may."""


class _Allowance:
    """What is left of a connection's bytes, of both directions together."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._used = 0

    def take(self, data: bytes) -> tuple[bytes, bool]:
        """As much of `data` as may still pass, and whether that was the last."""
        most = self._proxy._cut_after_bytes  # noqa: SLF001 - it changes while we live
        if most is None:
            return data, False
        data = data[: max(0, most - self._used)]
        self._used += len(data)
        return data, self._used >= most


def _abort(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()
