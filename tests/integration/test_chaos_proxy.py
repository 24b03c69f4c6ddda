"""The proxy of fault runs does what it is told to a connection, and nothing else to its bytes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from tradewind.chaos.proxy import Address, Proxy
from tradewind.stack.ports import free_port, is_free

SOON_S = 5.0
HELD_S = 0.3


@pytest.fixture
async def echo() -> AsyncIterator[Address]:
    """A server that says everything back."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[:2]
    server.close()


@pytest.fixture
async def proxy(echo: Address) -> AsyncIterator[Proxy]:
    made = Proxy(lambda: echo)
    await made.open()
    yield made
    await made.close()


class Client:
    """One connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def says(self, data: bytes) -> bytes:
        self.writer.write(data)
        async with asyncio.timeout(SOON_S):
            return await self.reader.readexactly(len(data))

    async def is_cut(self) -> bool:
        try:
            async with asyncio.timeout(SOON_S):
                return await self.reader.read(1) == b""
        except ConnectionResetError:
            return True


@contextlib.asynccontextmanager
async def connected(proxy: Proxy) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


async def test_bytes_pass_whole_and_in_order(proxy: Proxy) -> None:
    data = bytes(range(256)) * 4_000
    async with connected(proxy) as client:
        assert await client.says(data) == data
        client.writer.write_eof()
        assert await client.reader.read() == b""
    assert proxy.connections == 1
    assert proxy.passed_bytes == 2 * len(data)


async def test_a_stalled_way_holds_everything_back_and_loses_nothing(proxy: Proxy) -> None:
    async with connected(proxy) as client:
        assert await client.says(b"before") == b"before"
        proxy.stall()
        client.writer.write(b"held")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(HELD_S):
                await client.reader.read(1)
        async with connected(proxy) as late:  # is accepted, and hears nothing either
            late.writer.write(b"late")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(HELD_S):
                    await late.reader.read(1)
            await proxy.heal()
            assert await late.reader.readexactly(4) == b"late"
        assert await client.reader.readexactly(4) == b"held"


async def test_a_refusing_way_cuts_what_is_open_and_takes_nothing_new(proxy: Proxy) -> None:
    async with connected(proxy) as client:
        await client.says(b"before")
        proxy.refuse()
        assert await client.is_cut()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", proxy.port)
    port = proxy.port
    await proxy.heal()
    assert proxy.port == port
    async with connected(proxy) as client:
        assert await client.says(b"after") == b"after"


async def test_a_delay_is_added_to_each_way(proxy: Proxy) -> None:
    async with connected(proxy) as client:
        proxy.delay(0.2)
        began_s = time.monotonic()
        assert await client.says(b"slow") == b"slow"
        assert time.monotonic() - began_s >= 0.4
        await proxy.heal()
        assert await client.says(b"again") == b"again"


async def test_a_connection_is_cut_in_the_middle_of_something(proxy: Proxy) -> None:
    async with connected(proxy) as old:
        await old.says(b"x")
        proxy.cut_after(150)
        assert await old.is_cut()
    async with connected(proxy) as client:
        client.writer.write(bytes(100))
        got = b""
        with contextlib.suppress(ConnectionResetError):
            while data := await client.reader.read(100):
                got += data
        assert len(got) <= 50  # a hundred went there, what came back had the rest
    await proxy.heal()
    async with connected(proxy) as client:
        assert await client.says(bytes(1_000)) == bytes(1_000)


async def test_a_target_that_is_not_there_is_a_reset_and_not_the_end() -> None:
    where: list[Address | None] = [None]
    proxy = Proxy(lambda: where[0])
    await proxy.open()
    try:
        for absent in (None, ("127.0.0.1", free_port())):
            where[0] = absent
            async with connected(proxy) as client:
                assert await client.is_cut()
    finally:
        await proxy.close()


async def test_a_target_that_dies_takes_its_connections_along(proxy: Proxy) -> None:
    async with connected(proxy) as client:
        await client.says(b"x")
        assert proxy.open_connections == 1
    async with asyncio.timeout(SOON_S):
        while proxy.open_connections:
            await asyncio.sleep(0.01)


async def test_closing_leaves_nothing(echo: Address) -> None:
    proxy = Proxy(lambda: echo)
    await proxy.open()
    async with connected(proxy) as client:
        await client.says(b"x")
        await proxy.close()
        assert await client.is_cut()
    assert proxy.open_connections == 0
    assert is_free(proxy.port)
