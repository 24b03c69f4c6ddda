"""How the sandbox is assembled, run and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

from tradewind.chassis.clock import Clock, SystemClock
from tradewind.chassis.logs import get_logger
from tradewind.sandbox import refunds
from tradewind.sandbox.api import Api
from tradewind.sandbox.conditions import Conditions
from tradewind.sandbox.courier import Courier
from tradewind.sandbox.database import Database
from tradewind.sandbox.parts import Parts
from tradewind.sandbox.post import WebhookPost
from tradewind.sandbox.server import SandboxServer
from tradewind.sandbox.settings import SandboxSettings
from tradewind.sandbox.store import SCHEMA, SCHEMA_VERSION, UPGRADES

log = get_logger(__name__)


@contextlib.asynccontextmanager
async def assemble(settings: SandboxSettings, clock: Clock, public_url: str) -> AsyncIterator[Parts]:
    """Open the state folder and start the courier; stop and close them at the end. Raises StateError."""
    database = Database(settings.state_folder, SCHEMA, SCHEMA_VERSION, UPGRADES)
    conditions = Conditions(settings, clock)
    courier: Courier | None = None
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        if settings.webhook_url:
            post = WebhookPost(settings.webhook_url, settings.webhook_secret.reveal(), clock)
            stack.push_async_callback(asyncio.to_thread, post.close)
            courier = Courier(database, post, conditions, clock)
            running = asyncio.create_task(courier.run())
            stack.push_async_callback(_cancelled, running)
        parts = Parts(
            database=database,
            clock=clock,
            conditions=conditions,
            courier=courier,
            seed=settings.seed,
            public_url=public_url,
        )
        stack.push_async_callback(_cancelled, asyncio.create_task(refunds.end_pending(parts)))
        yield parts


async def serve(settings: SandboxSettings, listener: socket.socket) -> None:
    """Serve on `listener` until SIGTERM or SIGINT, then drain. Raises StateError."""
    host, port = listener.getsockname()[:2]
    public_url = (settings.public_url or f"http://{_reachable(host)}:{port}").rstrip("/")
    stopping = asyncio.Event()
    async with assemble(settings, SystemClock(), public_url) as parts:
        api = Api(parts, settings.api_keys, stopping)
        log.info("listening", host=host, port=port, seed=settings.seed)
        await SandboxServer(api.starlette(), stopping).serve(sockets=[listener])
    log.info("stopped")


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _reachable(host: str) -> str:
    """The address a browser on this machine can use for `host`."""
    local = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}
    return local.get(host) or (f"[{host}]" if ":" in host else host)
