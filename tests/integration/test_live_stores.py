"""One suite over every live store, and what a store on this machine's disk must survive."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tradewind.chassis.ids import new_id
from tradewind.chassis.live import Live
from tradewind.chassis.live_document import Document, LiveStore, NothingChanges, Outrun, StoreAway
from tradewind.chassis.settings import Secret
from tradewind.mesh.live_stores import open_store
from tradewind.services.order.settings import OrderSettings
from tradewind.stack.consul import ConsulEngine

KILLS = 12
WITHIN_S = 5.0
RETURN_WITHIN_S = 30.0

_WRITER = """
import asyncio, sys
from datetime import UTC, datetime
from tradewind.mesh.live_stores import open_store

async def main():
    store = open_store(sys.argv[1], {})
    while True:
        latest = await store.read()
        value = str(latest.version + 1) * 200
        await store.write(latest.changed({"A": value, "B": value}, at=datetime.now(UTC), who="w", reason=""))
        print(latest.version + 1, flush=True)

asyncio.run(main())
"""


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    """Where a new store in a file is."""
    return (tmp_path / "config" / "live.json").as_uri()


@pytest.fixture(params=["file", "consul"])
def url(request: pytest.FixtureRequest) -> str:
    """Where a new store of each kind is."""
    if request.param == "file":
        return str(request.getfixturevalue("file_url"))
    return f"{request.getfixturevalue('consul_url')}/t/{new_id()}"


@pytest.fixture
async def opened(url: str) -> AsyncIterator[Callable[[], LiveStore]]:
    """Opens the store once more, as another process would."""
    stores: list[LiveStore] = []

    def open_() -> LiveStore:
        stores.append(open_store(url, {}))
        return stores[-1]

    yield open_
    for store in stores:
        await store.close()


@pytest.fixture
def store(opened: Callable[[], LiveStore]) -> LiveStore:
    return opened()


def after(latest: Document, value: str, who: str = "ada") -> Document:
    return latest.changed({"ORDER_EXPIRY_BATCH": value}, at=datetime.now(UTC), who=who, reason="a test")


async def test_what_was_written_is_read(store: LiveStore, opened: Callable[[], LiveStore]) -> None:
    assert await store.read() == Document()
    await store.write(after(Document(), "7"))
    found = await opened().read()
    assert (found.version, found.values, found.changes[0].who) == (1, {"ORDER_EXPIRY_BATCH": "7"}, "ada")


async def test_of_two_who_saw_the_same_one_wins_and_the_other_is_told(
    store: LiveStore, opened: Callable[[], LiveStore]
) -> None:
    latest = await store.read()
    writers = {name: opened() for name in ("ada", "grace", "joan", "mary")}

    async def write(name: str) -> str | Document:
        try:
            await writers[name].write(after(latest, str(len(name)), name))
        except Outrun as outrun:
            return outrun.latest
        return name

    results = await asyncio.gather(*(write(name) for name in writers))
    (winner,) = (result for result in results if isinstance(result, str))
    found = await store.read()
    assert found.version == 1
    assert found.changes[0].who == winner
    assert [result for result in results if not isinstance(result, str)] == [found] * 3


async def test_who_waits_hears_of_a_change(store: LiveStore, opened: Callable[[], LiveStore]) -> None:
    waiting = asyncio.create_task(store.wait(0, WITHIN_S * 4))
    await opened().write(after(Document(), "7"))
    async with asyncio.timeout(WITHIN_S):
        assert (await waiting).version == 1
        assert (await store.wait(0, WITHIN_S * 4)).version == 1  # at once: it is not what was seen
    assert (await store.wait(1, 0.2)).version == 1  # nothing new: the time is up


async def test_a_process_follows(store: LiveStore, opened: Callable[[], LiveStore]) -> None:
    live = Live(OrderSettings(database_url=Secret("postgresql://x/y")), store=opened())
    await store.write(after(Document(), "7"))
    await live.open()
    assert live.value.expiry_batch == 7
    following = asyncio.create_task(live.follow())
    try:
        latest = await store.read()
        for value, in_force in (("8", 8), ("0", 8), ("9", 9)):
            latest = after(latest, value)
            await store.write(latest)
            async with asyncio.timeout(WITHIN_S):
                while not (live.version == latest.version or f"version {latest.version}" in live.refused):
                    await asyncio.sleep(0.02)
            assert live.value.expiry_batch == in_force
    finally:
        following.cancel()


async def test_with_the_store_broken_what_is_in_force_stays(tmp_path: Path, file_url: str) -> None:
    store = open_store(file_url, {})
    await store.write(after(Document(), "7"))
    live = Live(OrderSettings(database_url=Secret("postgresql://x/y")), store=open_store(file_url, {}))
    await live.open()
    path = tmp_path / "config" / "live.json"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreAway, match="is no document"):
        await store.read()
    with pytest.raises(StoreAway):
        await store.write(after(Document(), "8"))
    following = asyncio.create_task(live.follow())
    try:
        await asyncio.sleep(0)
        assert live.value.expiry_batch == 7
        path.unlink()
        path.write_bytes(whole)
        await store.write(after(await store.read(), "9"))
        async with asyncio.timeout(WITHIN_S):
            while live.value.expiry_batch != 9:
                await asyncio.sleep(0.02)
    finally:
        following.cancel()


def test_a_writer_killed_at_any_moment_leaves_a_whole_document_and_no_lock(file_url: str) -> None:
    """Twelve writers, each killed with a write under way; what was acknowledged is there, and never half of anything."""
    for number in range(KILLS):
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, file_url], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        for _ in range(3 + number):
            assert writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        acknowledged = [int(line) for line in writer.stdout.read().split()]
        writer.wait()
        writer.stdout.close()
        found = asyncio.run(open_store(file_url, {}).read())
        assert found.version >= max(acknowledged, default=0)
        assert found.values["A"] == found.values["B"] == str(found.version) * 200 == found.changes[-1].edits[0].new
    asyncio.run(open_store(file_url, {}).write(after(found, "7")))  # nobody's lock is left


@pytest.mark.parametrize("wrong", ["", "live.json", "ftp://x/y", "file://", "consul://", "consul://t@h"])
def test_a_url_that_is_none(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"LIVE_CONFIG_URL|consul://host:port"):
        open_store(wrong, {})


@pytest.mark.usefixtures("consul_program")
async def test_with_consul_gone_what_is_in_force_stays_and_its_return_is_noticed(tmp_path: Path) -> None:
    async with ConsulEngine(tmp_path / "consul") as engine:
        store, watched = open_store(engine.url, {}), open_store(engine.url, {})
        live = Live(OrderSettings(database_url=Secret("postgresql://x/y")), store=watched)
        await store.write(after(Document(), "7"))
        await live.open()
        following = asyncio.create_task(live.follow())
        try:
            await engine.kill()
            with pytest.raises(StoreAway):
                await store.write(after(live.document, "8"))
            assert live.value.expiry_batch == 7
            await engine.start()
            async with asyncio.timeout(RETURN_WITHIN_S):
                while live.value.expiry_batch != 9:
                    try:
                        await store.write(after(await store.read(), "9"))
                    except (StoreAway, NothingChanges):
                        await asyncio.sleep(0.05)
        finally:
            following.cancel()
            await store.close()
            await watched.close()


@pytest.mark.usefixtures("consul_program")
async def test_consul_wants_its_token_and_no_error_tells_it(tmp_path: Path) -> None:
    token = "00000000-0000-4000-8000-000000000002"
    (tmp_path / "token").write_text(f"{token}\n")
    async with ConsulEngine(tmp_path / "consul", management_token=token) as engine:
        for environ in ({"CONSUL_HTTP_TOKEN": token}, {"CONSUL_HTTP_TOKEN_FILE": str(tmp_path / "token")}):
            friend = open_store(engine.url, environ)
            async with asyncio.timeout(WITHIN_S):
                while True:  # a new agent takes a moment to know its first token
                    with contextlib.suppress(StoreAway):
                        await friend.write(after(await friend.read(), new_id()))
                        break
                    await asyncio.sleep(0.05)
            await friend.close()
        for environ in ({}, {"CONSUL_HTTP_TOKEN": token[::-1]}):
            stranger = open_store(engine.url, environ)
            with pytest.raises(StoreAway) as away:
                await stranger.write(after(Document(), "7"))
            assert token not in str(away.value)
            await stranger.close()
