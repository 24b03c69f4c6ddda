"""The life of a process: known before it is ready, unknown before it stops, and what is in flight is finished."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import aiohttp
import pytest

from tradewind.chassis.foundation import Foundation
from tradewind.chassis.http import PUBLIC, Api, Call
from tradewind.chassis.lifecycle import serve
from tradewind.chassis.service import Service
from tradewind.chassis.settings import ServiceSettings


class Gate:
    """Lets a test hold a request inside its handler."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.open = asyncio.Event()


api = Api("thing", tag="Things")


@api.get("/v1/fast", access=PUBLIC)
async def fast(call: Call[Gate]) -> dict[str, str]:
    """Answer at once."""
    return {"said": "fast"}


@api.get("/v1/slow", access=PUBLIC)
async def slow(call: Call[Gate]) -> dict[str, str]:
    """Answer when the gate opens."""
    call.parts.entered.set()
    await call.parts.open.wait()
    return {"said": "slow"}


class Witness:
    """A registrar that looks at the service at the moments it is told to come and to go."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.description: Mapping[str, Any] = {}
        self.ready_before: int | None = None
        self.registered = asyncio.Event()
        self.while_leaving: list[int] = []

    def url(self, path: str, port: str = "port") -> str:
        return f"http://127.0.0.1:{self.description[port]}{path}"

    async def register(self, description: Mapping[str, Any]) -> None:
        self.description = description
        self.ready_before = await self.status("/readyz", "management_port")
        self.registered.set()

    async def deregister(self) -> None:
        self.while_leaving = [await self.status("/v1/fast"), await self.status("/readyz", "management_port")]
        self._gate.open.set()

    async def status(self, path: str, port: str = "port") -> int:
        async with aiohttp.ClientSession() as session, session.get(self.url(path, port)) as answer:
            return answer.status


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    yield
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)


async def until_ready(witness: Witness) -> None:
    async with asyncio.timeout(10):
        await witness.registered.wait()
        while await witness.status("/readyz", "management_port") != 200:
            await asyncio.sleep(0.01)


async def test_it_leaves_the_mesh_before_it_stops_and_finishes_what_is_in_flight() -> None:
    gate = Gate()
    witness = Witness(gate)

    @contextlib.asynccontextmanager
    async def assemble(_foundation: Foundation) -> AsyncIterator[Gate]:
        yield gate

    life = asyncio.create_task(
        serve(Service(room="thing", api=api, assemble=assemble), ServiceSettings(log_level="error"), witness)
    )
    await until_ready(witness)
    assert witness.ready_before == 503
    assert await witness.status("/startupz", "management_port") == 200
    async with aiohttp.ClientSession() as session:
        held = asyncio.create_task(session.get(witness.url("/v1/slow")))
        await gate.entered.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        answer = await held
        assert (answer.status, await answer.json()) == (200, {"said": "slow"})
    assert await asyncio.wait_for(life, 10) == 0
    # New requests were still answered while the proxies were being told, but nobody was invited any more.
    assert witness.while_leaving == [200, 503]
    with pytest.raises(aiohttp.ClientConnectorError):
        await witness.status("/v1/fast")
