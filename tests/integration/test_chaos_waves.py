"""A fault strikes with requests in flight, or the run says that it met none."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tradewind.bench.platform import Platform
from tradewind.chaos import waves as module
from tradewind.chaos.ground import Ground
from tradewind.chaos.links import Links
from tradewind.chaos.plan import Fault, Strike, Wave
from tradewind.chaos.report import Report
from tradewind.chaos.sender import Sender, UnknownOutcome
from tradewind.chaos.waves import MEETS, Waves
from tradewind.stack.rooms import all_rooms
from tradewind.traffic.client import open_shop

SKEW = Fault(kind="skew", target="order", seconds=0.1, amount=90)
DISK = Fault(kind="disk", target="postgres", seconds=0.1)


class Well(Ground):
    """A platform of which nothing is needed but that it is well: faults here touch files alone."""

    async def not_ready(self) -> list[str]:
        return []


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    platform = Platform(tmp_path / "state")
    (platform.folder / "clock").mkdir(parents=True)
    return Well(platform, Links(platform.state, ("127.0.0.1", platform.port), all_rooms()), (), 1)


@pytest.fixture
async def slow_door() -> AsyncIterator[str]:
    """Answers each POST after a moment, so that requests are in flight."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(0.05)
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


async def test_it_waits_for_requests_and_counts_them(ground: Ground, slow_door: str) -> None:
    report, said = Report(seed=1, seconds=1, rate_per_s=1), list[str]()
    async with open_shop(slow_door) as shop:
        sender = Sender(shop)

        async def customer() -> None:
            while True:
                await sender.write("/v1/orders")

        crowd = [asyncio.create_task(customer()) for _ in range(MEETS + 2)]
        try:
            await Waves(ground, sender, report, said.append).run([Wave(0.0, (Strike(0.0, SKEW),))])
        finally:
            for each in crowd:
                each.cancel()
            await asyncio.gather(*crowd, return_exceptions=True)
    (struck,) = report.struck
    assert MEETS <= struck.in_flight <= MEETS + 2
    assert struck.recovery_s is not None
    assert (ground.folder / "clock/order").read_text() == "0"
    assert (report.problems, len(said)) == ([], 1)


async def test_a_fault_that_met_nothing_fails_the_run(
    ground: Ground, slow_door: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MEET_TIMEOUT_S", 0.1)
    monkeypatch.setattr(module, "RECOVERY_TIMEOUT_S", 0.3)
    report = Report(seed=1, seconds=1, rate_per_s=1)
    async with open_shop(slow_door) as shop:
        await Waves(ground, Sender(shop), report, lambda _: None).run([Wave(0.0, (Strike(0.0, SKEW),))])
    assert not report.clean
    assert any("met no request in flight" in problem for problem in report.problems)
    assert any("not well again" in problem for problem in report.problems)


async def test_what_this_machine_cannot_do_is_said_and_not_passed(ground: Ground, slow_door: str) -> None:
    report, said = Report(seed=1, seconds=1, rate_per_s=1), list[str]()
    async with open_shop(slow_door) as shop:
        await Waves(ground, Sender(shop), report, said.append).run([Wave(0.0, (Strike(0.0, DISK),))])
    assert report.struck[0].not_run.startswith("PostgreSQL's data is not on a small disk")
    assert report.fired == 0
    assert "not run: " in said[0]


async def test_a_write_without_a_key_is_not_sent_twice() -> None:
    seen = 0

    async def cut(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        seen += 1
        writer.close()

    server = await asyncio.start_server(cut, "127.0.0.1", 0)
    async with open_shop(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as shop:
        sender = Sender(shop)
        with pytest.raises(UnknownOutcome):
            await sender.write("/v1/auth/register", body={})
        assert (seen, sender.gave_up) == (1, 0)
        with pytest.raises(UnknownOutcome):
            await sender.write("/v1/orders", body={}, key="k", patience_s=0.3)
        assert (seen > 2, sender.gave_up) == (True, 1)
    server.close()
