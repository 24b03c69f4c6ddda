"""One suite over every live store, and what a store on this machine's disk must survive."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tradewind.chassis.live import Live
from tradewind.chassis.live_document import Document, LiveStore, Outrun, StoreAway
from tradewind.chassis.settings import Secret
from tradewind.mesh.live_stores import open_store
from tradewind.services.order.settings import OrderSettings

KILLS = 12
WITHIN_S = 5.0

_WRITER = """
import asyncio, sys
from datetime import UTC, datetime
from tradewind.mesh.live_stores import open_store

async def main():
    store = open_store(sys.argv[1])
    while True:
        latest = await store.read()
        value = str(latest.version + 1) * 200
        await store.write(latest.changed({"A": value, "B": value}, at=datetime.now(UTC), who="w", reason=""))
        print(latest.version + 1, flush=True)

asyncio.run(main())
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Where a new store is."""
    return (tmp_path / "config" / "live.json").as_uri()


@pytest.fixture
def store(url: str) -> LiveStore:
    return open_store(url)


def after(latest: Document, value: str, who: str = "ada") -> Document:
    return latest.changed({"ORDER_EXPIRY_BATCH": value}, at=datetime.now(UTC), who=who, reason="a test")


async def test_what_was_written_is_read(store: LiveStore, url: str) -> None:
    assert await store.read() == Document()
    await store.write(after(Document(), "7"))
    found = await open_store(url).read()
    assert (found.version, found.values, found.changes[0].who) == (1, {"ORDER_EXPIRY_BATCH": "7"}, "ada")


async def test_of_two_who_saw_the_same_one_wins_and_the_other_is_told(store: LiveStore, url: str) -> None:
    latest = await store.read()
    writers = {name: open_store(url) for name in ("ada", "grace", "joan", "mary")}

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


async def test_who_waits_hears_of_a_change(store: LiveStore, url: str) -> None:
    waiting = asyncio.create_task(store.wait(0, WITHIN_S * 4))
    await open_store(url).write(after(Document(), "7"))
    async with asyncio.timeout(WITHIN_S):
        assert (await waiting).version == 1
        assert (await store.wait(0, WITHIN_S * 4)).version == 1  # at once: it is not what was seen
    assert (await store.wait(1, 0.2)).version == 1  # nothing new: the time is up


async def test_a_process_follows(store: LiveStore, url: str) -> None:
    live = Live(OrderSettings(database_url=Secret("postgresql://x/y")), store=open_store(url))
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


async def test_with_the_store_broken_what_is_in_force_stays(tmp_path: Path, url: str) -> None:
    store = open_store(url)
    await store.write(after(Document(), "7"))
    live = Live(OrderSettings(database_url=Secret("postgresql://x/y")), store=open_store(url))
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


def test_a_writer_killed_at_any_moment_leaves_a_whole_document_and_no_lock(url: str) -> None:
    """Twelve writers, each killed with a write under way; what was acknowledged is there, and never half of anything."""
    for number in range(KILLS):
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, url], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        for _ in range(3 + number):
            assert writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        acknowledged = [int(line) for line in writer.stdout.read().split()]
        writer.wait()
        writer.stdout.close()
        found = asyncio.run(open_store(url).read())
        assert found.version >= max(acknowledged, default=0)
        assert found.values["A"] == found.values["B"] == str(found.version) * 200 == found.changes[-1].edits[0].new
    asyncio.run(open_store(url).write(after(found, "7")))  # nobody's lock is left


@pytest.mark.parametrize("wrong", ["", "live.json", "ftp://x/y", "file://"])
def test_a_url_that_is_none(wrong: str) -> None:
    with pytest.raises(ValueError, match="LIVE_CONFIG_URL"):
        open_store(wrong)
