"""The control port: a second HTTP server in the gateway's process, up before Envoy and down after it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator

import uvicorn
from starlette.types import ASGIApp

KEEP_ALIVE_S = 90
STOP_S = 2


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, host: str, port: int, *, before_stop: Callable[[], None]) -> AsyncIterator[None]:
    """Serve `app` while the context lasts. `before_stop` ends what hangs on purpose (long-polls).

    Raises:
        OSError: the port is taken.
    """
    listening = socket.create_server((host, port), backlog=256)
    listening.setblocking(False)
    # Inherited by every connection. asyncio sets it only on sockets made with an explicit protocol number; without it
    # the body of an answer waits 40 ms for the acknowledgement of its head.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server = _Server(
        uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            loop="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=STOP_S,
        )
    )
    task = asyncio.create_task(server.serve(sockets=[listening]), name="control port")
    try:
        yield
    finally:
        before_stop()
        server.should_exit = True
        await asyncio.wait([task])


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: the process has one life cycle, the chassis's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
