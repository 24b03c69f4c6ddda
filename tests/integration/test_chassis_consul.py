"""Consul's HTTP API through our client, against a real agent; and what no agent can be made to say, against a socket that says it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeVar

import pytest

from tradewind.chassis.consul import Consul, ConsulAddress, ConsulAway, ConsulKv, ConsulRefused, Seen
from tradewind.chassis.consul import client as client_module
from tradewind.chassis.consul.kv import MAX_VALUE_BYTES, NEW
from tradewind.chassis.ids import new_id
from tradewind.chassis.settings import Secret
from tradewind.stack.consul import ConsulEngine
from tradewind.stack.ports import free_port

PATIENCE_S = 20.0
T = TypeVar("T")


@contextlib.asynccontextmanager
async def client(url: str, token: str = "") -> AsyncIterator[Consul]:
    consul = Consul(ConsulAddress.parse(url, Secret(token) if token else None))
    try:
        yield consul
    finally:
        await consul.close()


async def following(stream: AsyncIterator[T]) -> T:
    async with asyncio.timeout(PATIENCE_S):
        return await anext(stream)


async def test_keys_are_written_read_and_only_changed_by_who_knows_their_state(consul_url: str) -> None:
    async with client(consul_url) as consul:
        kv = ConsulKv(consul, f"t/{new_id()}/")
        assert await kv.get("a b") is None
        assert await kv.put("a b", b"1", expected=NEW)
        assert not await kv.put("a b", b"2", expected=NEW)
        entry = await kv.get("a b")
        assert entry is not None
        assert (entry.key, entry.value) == ("a b", b"1")
        assert await kv.put("a b", b"2", expected=entry.modify_index)
        assert not await kv.put("a b", b"3", expected=entry.modify_index)
        await kv.put("c", b"")
        assert [(each.key, each.value) for each in await kv.entries()] == [("a b", b"2"), ("c", b"")]
        with pytest.raises(ValueError, match="at most 524288"):
            await kv.put("d", b"x" * (MAX_VALUE_BYTES + 1))
        await kv.delete("a b")
        await kv.delete("a b")
        assert [each.key for each in await kv.entries()] == ["c"]


@pytest.mark.usefixtures("consul_program")
async def test_a_watch_sees_each_change_and_outlives_the_agent(tmp_path: Path) -> None:
    async with ConsulEngine(tmp_path / "consul") as engine, client(engine.url) as consul:
        kv = ConsulKv(consul, "t/watched/")
        changes = kv.watch()
        assert await following(changes) == []
        await kv.put("a", b"1")
        assert [each.value for each in await following(changes)] == [b"1"]
        coming = asyncio.ensure_future(anext(changes))
        await engine.kill()
        async with asyncio.timeout(PATIENCE_S):
            while consul.answers:
                await asyncio.sleep(0.01)
        with pytest.raises(ConsulAway):
            await kv.put("a", b"2")
        await engine.start()
        async with asyncio.timeout(PATIENCE_S):
            assert [each.value for each in await coming] == [b"1"], "the first answer after an absence is told anew"
        assert consul.answers
        await kv.put("a", b"2")
        assert [each.value for each in await following(changes)] == [b"2"]


@pytest.mark.usefixtures("consul_program")
async def test_without_the_token_nothing_may_be_done(tmp_path: Path) -> None:
    token = "00000000-0000-4000-8000-000000000001"
    async with ConsulEngine(tmp_path / "consul", management_token=token) as engine:
        async with client(engine.url) as stranger:
            with pytest.raises(ConsulRefused, match="403"):
                await ConsulKv(stranger).put("a", b"1")
        async with client(engine.url, token) as friend:
            assert await ConsulKv(friend).put("a", b"1")
        assert token not in engine.log.read_text()


class Scripted:
    """An agent that answers each query with the next of `indexes`, and keeps what it was asked."""

    def __init__(self, *indexes: int) -> None:
        self.asked: list[str] = []
        self._indexes = list(indexes)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        port = free_port()
        server = await asyncio.start_server(self._answer, "127.0.0.1", port)
        try:
            yield f"consul://127.0.0.1:{port}"
        finally:
            server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0].decode()
        query = line.split(" ")[1].partition("?")[2]
        self.asked.append(dict(pair.split("=") for pair in query.split("&") if pair).get("index", "none"))
        if not self._indexes:
            await asyncio.Event().wait()
        index = self._indexes.pop(0)
        head = f"HTTP/1.1 200 OK\r\nX-Consul-Index: {index}\r\nConnection: close\r\nContent-Length: 2\r\n\r\n"
        writer.write(head.encode() + b"[]")
        writer.close()


async def told(script: Scripted, count: int) -> list[Seen]:
    """The first `count` answers, and one more query, left hanging."""
    async with script.running() as url, client(url) as consul:
        stream = consul.watch("/v1/x")
        found = [await following(stream) for _ in range(count)]
        hanging = asyncio.ensure_future(anext(stream))
        asked = len(script.asked)
        async with asyncio.timeout(PATIENCE_S):
            while len(script.asked) == asked or script._indexes:
                await asyncio.sleep(0.01)
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)
    return found


async def test_an_index_that_goes_backwards_starts_anew() -> None:
    script = Scripted(50, 60, 7, 7)
    found = await told(script, 3)
    assert script.asked == ["none", "50", "60", "none", "7"]
    assert [(each.index, each.continuous) for each in found] == [(50, False), (60, True), (7, False)]


async def test_an_index_of_nothing_still_waits() -> None:
    script = Scripted(0)
    await told(script, 1)
    assert script.asked == ["none", "1"]


async def test_an_unchanged_index_is_no_change() -> None:
    script = Scripted(50, 50, 51)
    found = await told(script, 2)
    assert [each.index for each in found] == [50, 51]
    assert script.asked == ["none", "50", "50", "51"]


async def test_an_absent_agent_is_asked_ever_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def note(pause_s: float) -> None:
        pauses.append(pause_s)
        if len(pauses) == 8:
            raise asyncio.CancelledError

    async with client(f"consul://127.0.0.1:{free_port()}") as consul:
        stream = consul.watch("/v1/x")
        monkeypatch.setattr(client_module.asyncio, "sleep", note)
        with pytest.raises(asyncio.CancelledError):
            await anext(stream)
    longest = client_module.LONGEST_PAUSE_S
    assert all(0.5 * most <= pause <= most for pause, most in zip(pauses, (0.1, 0.2, 0.4, 0.8, 1.6, 3.2), strict=False))
    assert all(0.5 * longest <= pause <= longest for pause in pauses[6:])
    assert len(set(pauses)) == len(pauses), "jitter"


@pytest.mark.parametrize(
    "url", ["http://a:8500", "consul://", "consul://a:8500/x", "consul://token@a:8500", "consul://a:8500?dc=1"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="consul"):
        ConsulAddress.parse(url)


def test_addresses() -> None:
    assert ConsulAddress.parse("consul://a").base_url == "http://a:8500"
    assert ConsulAddress.parse("consuls://a").base_url == "https://a:8501"
    assert ConsulAddress.parse("consul://[::1]:8600").base_url == "http://[::1]:8600"
