"""How soon the mesh follows: a new endpoint, a killed instance. And what the gateway adds to a request at a steady rate.

All on the platform's own Envoy, beside a service of the bench's own whose instances are Envoys that answer by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from tradewind.bench.figures import Figure, Say, figure_line
from tradewind.bench.gateway import PATH, answering, forwarding, lone_envoy, registered, until_answered
from tradewind.bench.platform import Platform
from tradewind.mesh.envoy_admin import EnvoyAdmin
from tradewind.stack.ports import free_port
from tradewind.traffic.client import Shop, open_shop
from tradewind.traffic.operator import operator_token

LIVE_AIM_MS = 50.0
OUT_AIM_S = 1.0
ADDED_AIM_MS = 2.0
ROUNDS = 20
LIVE_TIMEOUT_S = 5.0
OUT_TIMEOUT_S = 10.0
OUT_POLL_S = 0.01
RATE_PER_S = 2_000
SECONDS = 5
PAIRS = 3
CONNECTIONS = 64
CLUSTER = "bench-service"


async def measure(platform: Platform, say: Say) -> list[Figure]:
    """All three; the platform is as before when this returns."""
    with tempfile.TemporaryDirectory(prefix="tradewind-mesh-") as folder:
        figures = [
            await _endpoint_live(platform, Path(folder)),
            await _killed_out(platform, Path(folder)),
            *await _added(platform, Path(folder)),
        ]
    for figure in figures:
        say(figure_line(figure))
    return figures


async def _endpoint_live(platform: Platform, folder: Path) -> Figure:
    """From the registry's answer to the first request that the new instance answers; the longest of `ROUNDS`."""
    token, taken_s = operator_token(platform.keys_file), []
    with _instance(folder, "one") as (one, _), _instance(folder, "two") as (two, _):
        async with registered(platform, one, "bench-1"), open_shop(platform.url) as shop:
            await until_answered(shop, token)
            for _ in range(ROUNDS):
                async with registered(platform, two, "bench-2"), asyncio.timeout(LIVE_TIMEOUT_S):
                    began_s = time.perf_counter()
                    while (await shop.call("GET", PATH, token=token)).body != {"instance": "two"}:
                        pass
                    taken_s.append(time.perf_counter() - began_s)
    return Figure(
        name=f"a new endpoint serves, longest of {ROUNDS}", value=max(taken_s) * 1000, unit="ms", aim=LIVE_AIM_MS
    )


async def _killed_out(platform: Platform, folder: Path) -> Figure:
    """From `kill -9` of one of two until Envoy sends it nothing more, with requests going on; infinite if one of them failed."""
    token = operator_token(platform.keys_file)
    envoy = EnvoyAdmin(f"http://127.0.0.1:{platform.state.ports()['envoy']['admin_port']}")
    with _instance(folder, "one") as (one, _), _instance(folder, "two") as (two, victim):
        async with (
            _closing(envoy),
            registered(platform, one, "bench-1"),
            registered(platform, two, "bench-2"),
            open_shop(platform.url) as shop,
        ):
            await until_answered(shop, token)
            async with asyncio.timeout(LIVE_TIMEOUT_S):
                while (await shop.call("GET", PATH, token=token)).body != {"instance": "two"}:
                    pass
            before = await _ejections(envoy)
            asking = asyncio.create_task(_ask_on(shop, token))
            os.kill(victim, signal.SIGKILL)
            killed_s = time.perf_counter()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(OUT_TIMEOUT_S):
                    while not asking.done() and await _ejections(envoy) == before:
                        await asyncio.sleep(OUT_POLL_S)
            out_s = time.perf_counter() - killed_s
            asking.cancel()
            failed = (await asyncio.gather(asking, return_exceptions=True))[0]
    unhurt = isinstance(failed, asyncio.CancelledError)
    return Figure(
        name="a killed instance is out, no request failed",
        value=out_s if unhurt else float("inf"),
        unit="s",
        aim=OUT_AIM_S,
    )


@contextlib.asynccontextmanager
async def _closing(envoy: EnvoyAdmin) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await envoy.close()


async def _ejections(envoy: EnvoyAdmin) -> int:
    """How often an instance of the bench's service was taken out so far. A gauge of those that are out could be an earlier one's."""
    return (await envoy.stats()).clusters()[CLUSTER].get("outlier_detection.ejections_enforced_total", 0)


async def _ask_on(shop: Shop, token: str) -> None:
    while True:
        await shop.call("GET", PATH, token=token)
        await asyncio.sleep(0.002)


async def _added(platform: Platform, folder: Path) -> list[Figure]:
    """p99 at `RATE_PER_S` through the gateway less that through a bare Envoy, in the median of pairs."""
    token = operator_token(platform.keys_file)
    bare_port = free_port()
    with _instance(folder, "one") as (one, _), lone_envoy(folder / "bare.json", forwarding(bare_port, one)):
        async with registered(platform, one, "bench-1"):
            for url in (f"http://127.0.0.1:{bare_port}", platform.url):
                async with open_shop(url) as shop:
                    await until_answered(shop, token)
            pairs = [
                (
                    await _percentiles_ms(f"http://127.0.0.1:{bare_port}", token),
                    await _percentiles_ms(platform.url, token),
                )
                for _ in range(PAIRS)
            ]
    p50 = statistics.median(full[0] - bare[0] for bare, full in pairs)
    p99 = statistics.median(full[1] - bare[1] for bare, full in pairs)
    return [
        Figure(
            name=f"bare Envoy at {RATE_PER_S} req/s, p99",
            value=statistics.median(bare[1] for bare, _ in pairs),
            unit="ms",
        ),
        Figure(name=f"the gateway adds at {RATE_PER_S} req/s, p50", value=p50, unit="ms"),
        Figure(name=f"the gateway adds at {RATE_PER_S} req/s, p99", value=p99, unit="ms", aim=ADDED_AIM_MS),
    ]


async def _percentiles_ms(url: str, token: str) -> tuple[float, float]:
    """p50 and p99 of an open loop; a latency counts from when its request was due.

    Raises:
        RuntimeError: an answer was something else than 200.
    """
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    request = f"GET {PATH} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\n\r\n".encode()
    idle: asyncio.Queue[_Line] = asyncio.Queue()
    lines = [
        (await loop.create_connection(lambda: _Line(idle), parts.hostname or "", parts.port or 80))[1]
        for _ in range(CONNECTIONS)
    ]
    started_s = time.perf_counter()
    for number in range(RATE_PER_S * SECONDS):
        due_s = started_s + number / RATE_PER_S
        if (ahead_s := due_s - time.perf_counter()) > 0:
            await asyncio.sleep(ahead_s)
        (await idle.get()).send(request, due_s)
    for _ in lines:
        (await idle.get()).close()
    taken_s = sorted(each for line in lines for each in line.taken_s)
    return taken_s[len(taken_s) // 2] * 1000, taken_s[int(len(taken_s) * 0.99)] * 1000


@contextlib.contextmanager
def _instance(folder: Path, name: str) -> Iterator[tuple[int, int]]:
    """An instance that answers with its name: its port and its pid.

    It listens before anybody hears of it, as a service does: else the mesh takes the one out that is to stay.
    """
    port = free_port()
    with lone_envoy(folder / f"{name}.json", answering(port, msgspec.json.encode({"instance": name}))) as pid:
        deadline_s = time.perf_counter() + LIVE_TIMEOUT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
                break
            except OSError:
                if time.perf_counter() > deadline_s:
                    raise
                time.sleep(OUT_POLL_S)
        yield port, pid


class _Line(asyncio.Protocol):
    """One kept connection, one request at a time: as thin as can be, so that the client's own time is small."""

    def __init__(self, idle: asyncio.Queue[_Line]) -> None:
        self._idle = idle
        self._due_s = 0.0
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self.taken_s: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._idle.put_nowait(self)

    def send(self, request: bytes, due_s: float) -> None:
        assert self._transport is not None
        self._due_s = due_s
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._received.endswith(b"}"):
            return
        if not self._received.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"refused: {self._received[:200]!r}")
        self._received = b""
        self.taken_s.append(time.perf_counter() - self._due_s)
        self._idle.put_nowait(self)

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()
