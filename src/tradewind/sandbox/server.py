"""The HTTP server: uvicorn, taught to reset a connection, and to stop with exit code 0 on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import struct
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tradewind.sandbox.replies import RESET_EXTENSION

BACKLOG = 512
CONNECTIONS_MAX = 1_000
# Longer than clients keep an idle connection, so that it is they who close it.
KEEP_ALIVE_S = 75
DRAIN_S = 10
# SO_LINGER on with no time: close() sends RST instead of FIN.
_LINGER_RESET = struct.pack("ii", 1, 0)


class SandboxProtocol(HttpToolsProtocol):
    """Offers the application a reset of the connection, as an ASGI extension."""

    def on_message_begin(self) -> None:
        """Start a request, with the extension in its scope."""
        super().on_message_begin()
        self.scope["extensions"] = {RESET_EXTENSION: self.reset}  # type: ignore[dict-item]

    def reset(self) -> None:
        """Close the connection so that the client sees a reset."""
        connection: socket.socket | None = self.transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        self.transport.abort()


class SandboxServer(uvicorn.Server):
    """Sets `stopping` on the first SIGTERM or SIGINT, then drains for at most DRAIN_S."""

    def __init__(self, app: ASGIApp, stopping: asyncio.Event) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=SandboxProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                log_level="warning",
                server_header=False,
                limit_concurrency=CONNECTIONS_MAX,
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=DRAIN_S,
            )
        )
        self._stopping = stopping

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on a signal. Unlike uvicorn's own, does not raise it again at the end: a drained stop is a success."""
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)
        for number in signals:
            loop.add_signal_handler(number, self._stop)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    def _stop(self) -> None:
        self._stopping.set()
        self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError when the address is wrong or taken."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return socket.create_server(address[:2], family=family, backlog=BACKLOG)
