"""Answers that are none: a connection reset, and silence. They need the server's help, see `server.SandboxProtocol`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

RESET_EXTENSION = "tradewind.reset"
SILENCE_S = 30.0
ARRIVES_S = 0.05


class Reset(Response):
    """Closes the connection with a TCP reset, nothing sent."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Reset, and see it closed."""
        reset: Callable[[], None] = scope["extensions"][RESET_EXTENSION]
        reset()
        await _disconnected(receive)


class Cut(Reset):
    """Promises a whole body, sends half of it, and closes the connection with a TCP reset."""

    def __init__(self, body: bytes, status: int, media_type: str) -> None:
        super().__init__(body, status, media_type=media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send half, then reset."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        half = bytes(self.body)[: len(self.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
        await asyncio.sleep(ARRIVES_S)  # a reset takes back what is still in the buffer
        await super().__call__(scope, receive, send)


class Silence(Reset):
    """Sends nothing for SILENCE_S, longer than clients wait, then resets; sooner when the client leaves or we stop."""

    def __init__(self, stopping: asyncio.Event) -> None:
        super().__init__()
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hold the connection, then reset it."""
        gone = asyncio.create_task(_disconnected(receive))
        stop = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((gone, stop), timeout=SILENCE_S, return_when=asyncio.FIRST_COMPLETED)
            left = gone.done()
        finally:
            gone.cancel()
            stop.cancel()
        if not left:
            await super().__call__(scope, receive, send)


async def _disconnected(receive: Receive) -> None:
    """Wait until the connection is closed, by either side."""
    while (await receive())["type"] != "http.disconnect":
        pass
