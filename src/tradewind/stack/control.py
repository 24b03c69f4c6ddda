"""The supervisor's door for the other verbs: a unix socket in the private state folder, one JSON line asked, lines answered.

    {"verb": "ps"} -> {"processes": [...], "ready": true, "url": "..."} {"exit": 0}
    {"verb": "restart", "name": "order"} -> {"event": ...}* {"exit": 0} | {"exit": 1, "problem": ..., "fix": ...}

Verbs: ps, watch (events until ready), restart, scale, down. The last line always has `exit`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec

from tradewind.stack.errors import StackError
from tradewind.stack.events import Event
from tradewind.stack.supervisor import Supervisor

MAX_REQUEST_BYTES = 64 * 1024
QUEUED_EVENTS = 1_000
FAREWELL_S = 1.0
Answer = dict[str, Any]


class Announcer:
    """Hands every event to all who listen: the terminal, the pipe of `up -d`, and clients of `watch`."""

    def __init__(self, *listeners: Callable[[Event], None]) -> None:
        self._listeners = list(listeners)

    def __call__(self, event: Event) -> None:
        for listener in list(self._listeners):
            try:
                listener(event)
            except OSError:  # its terminal or pipe is gone; that must not end the platform
                self._listeners.remove(listener)

    @contextlib.contextmanager
    def subscribed(self) -> Any:
        """A queue of the events from now on; the oldest are dropped when nobody fetches them."""
        queue: asyncio.Queue[Event] = asyncio.Queue(QUEUED_EVENTS)

        def put(event: Event) -> None:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)

        self._listeners.append(put)
        try:
            yield queue
        finally:
            self._listeners.remove(put)


class ControlDoor:
    """Serves one supervisor on `path` while the context is open."""

    def __init__(self, supervisor: Supervisor, announcer: Announcer, path: Path, url: str) -> None:
        self._supervisor = supervisor
        self._announcer = announcer
        self.path = path
        self._url = url
        self._conversations: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Listen; the socket file is gone afterwards."""
        self.path.unlink(missing_ok=True)
        mask = os.umask(0o177)
        try:
            server = await asyncio.start_unix_server(self._serve, str(self.path), limit=MAX_REQUEST_BYTES)
        finally:
            os.umask(mask)
        try:
            yield
        finally:
            server.close()
            if self._conversations:  # whoever asked for the end shall hear of it
                await asyncio.wait(self._conversations, timeout=FAREWELL_S)
            self.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._conversations.add(task)
        try:
            request = msgspec.json.decode(await reader.readline(), type=dict[str, Any])
            async for answer in self._answers(request):
                writer.write(msgspec.json.encode(answer) + b"\n")
                await writer.drain()
        except (OSError, ValueError, msgspec.MsgspecError):
            return  # the client went away or does not speak our language
        finally:
            writer.close()
            self._conversations.discard(task)

    async def _answers(self, request: dict[str, Any]) -> AsyncIterator[Answer]:
        try:
            match request:
                case {"verb": "ps"}:
                    table, ready = self._supervisor.table(), self._supervisor.ready.is_set()
                    yield {"processes": table, "ready": ready, "url": self._url}
                case {"verb": "watch"}:
                    async for event in self._watch():
                        yield event
                case {"verb": "restart", "name": str(name)}:
                    async for event in self._meanwhile(self._supervisor.restart(name)):
                        yield event
                case {"verb": "scale", "name": str(name), "count": int(count)}:
                    async for event in self._meanwhile(self._supervisor.scale(name, count)):
                        yield event
                case {"verb": "down"}:
                    self._supervisor.request_stop()
                    async for event in self._meanwhile(self._supervisor.stopped.wait()):
                        yield event
                case _:
                    raise StackError(f"unknown request {request.get('verb')!r}")
        except StackError as error:
            yield {"exit": 1, "problem": error.problem, "fix": error.fix}
        else:
            yield {"exit": 0}

    async def _watch(self) -> AsyncIterator[Event]:
        with self._announcer.subscribed() as queue:
            if self._supervisor.ready.is_set():
                yield {"event": "ready", "elapsed_s": 0.0}
                return
            while True:
                event = await queue.get()
                yield event
                if event["event"] in ("ready", "stopped"):
                    return

    async def _meanwhile(self, work: Any) -> AsyncIterator[Event]:
        """The events that happen while `work` is under way; raises what it raises."""
        task = asyncio.ensure_future(work)
        with self._announcer.subscribed() as queue:
            while not task.done():
                getting = asyncio.ensure_future(queue.get())
                await asyncio.wait({task, getting}, return_when=asyncio.FIRST_COMPLETED)
                if getting.done():
                    yield getting.result()
                getting.cancel()
        await task
