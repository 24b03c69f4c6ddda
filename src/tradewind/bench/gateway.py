"""What our gateway costs: Envoy with the whole production set against the same Envoy bare, on the same upstream.

Three Envoys: the platform's own, a bare one, and one that answers by itself and serves as upstream for both. The proxy under
test has one core, upstream and load generator the other; bare and full runs alternate, so that a machine that speeds up
or slows down does so for both.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec

from tradewind.bench.figures import Figure, Say, figure_line
from tradewind.bench.platform import Platform
from tradewind.bench.sampling import cpu_seconds
from tradewind.mesh.envoy_binary import find_envoy
from tradewind.mesh.identity import room_token
from tradewind.mesh.registries.local_registrar import LocalRegistrar
from tradewind.stack.ports import free_port
from tradewind.traffic.client import Refused, Shop, open_shop
from tradewind.traffic.operator import operator_token

PAIRS = 5
RUN_S = 4
CONNECTIONS = 64
READY_TIMEOUT_S = 10.0
RATIO_AIM = 0.7
PATH = "/v1/bench"
ANSWER = b'{"hello":"world"}'
_RATE = re.compile(r"Requests/sec:\s+([\d.]+)")
_BAD = re.compile(r"Non-2xx or 3xx responses: (\d+)")


async def measure(platform: Platform, say: Say) -> list[Figure]:
    """The ratio of throughputs and of CPU per request; empty, and said, without the load generator `wrk`."""
    wrk = shutil.which("wrk")
    if wrk is None:
        say("  not run: it needs the load generator wrk (apt-get install wrk)")
        return []
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tradewind-gateway-")))
        upstream_port, bare_port = free_port(), free_port()
        upstream = stack.enter_context(lone_envoy(folder / "upstream.json", answering(upstream_port)))
        bare = stack.enter_context(lone_envoy(folder / "bare.json", forwarding(bare_port, upstream_port)))
        await stack.enter_async_context(registered(platform, upstream_port))
        token = operator_token(platform.keys_file)
        full = next(row["pid"] for row in platform.processes() if row["name"] == "envoy")
        one, other = two_cores()
        for pid, core in ((upstream, other), (bare, one), (full, one)):
            pin(pid, core)
        bare_url = f"http://127.0.0.1:{bare_port}"
        for url in (bare_url, platform.url):
            async with open_shop(url) as shop:
                await until_answered(shop, token)
        pairs = [
            (
                await asyncio.to_thread(_run, wrk, bare_url + PATH, token, bare, other),
                await asyncio.to_thread(_run, wrk, platform.url + PATH, token, full, other),
            )
            for _ in range(PAIRS)
        ]
    return _figures(pairs, say)


def _figures(pairs: list[tuple[tuple[float, float], tuple[float, float]]], say: Say) -> list[Figure]:
    rate = statistics.median(full[0] / bare[0] for bare, full in pairs)
    cpu = statistics.median(bare[1] / full[1] for bare, full in pairs)
    figures = [
        Figure(name="bare Envoy", value=statistics.median(bare[0] for bare, _ in pairs), unit="req/s"),
        Figure(name="the gateway", value=statistics.median(full[0] for _, full in pairs), unit="req/s"),
        Figure(name="gateway : bare, throughput", value=rate, unit="x", aim=RATIO_AIM, better="more"),
        Figure(name="gateway : bare, requests per CPU second", value=cpu, unit="x"),
    ]
    for figure in figures:
        say(figure_line(figure))
    return figures


def _run(wrk: str, url: str, token: str, pid: int, core: int) -> tuple[float, float]:
    """Requests a second, and CPU microseconds of process `pid` a request."""
    before_s = cpu_seconds(pid)
    done = subprocess.run(
        ["taskset", "-c", str(core), wrk, "-t1", f"-c{CONNECTIONS}", f"-d{RUN_S}s", "-H", f"Authorization: Bearer {token}", url],
        capture_output=True, text=True, check=True, timeout=RUN_S + 30,
    )  # fmt: skip
    if bad := _BAD.search(done.stdout):
        raise RuntimeError(f"{bad.group(1)} requests to {url} were refused: {done.stdout}")
    found = _RATE.search(done.stdout)
    if found is None:
        raise RuntimeError(f"wrk said something else: {done.stdout}{done.stderr}")
    rate = float(found.group(1))
    return rate, (cpu_seconds(pid) - before_s) * 1e6 / (rate * RUN_S)


@contextlib.contextmanager
def lone_envoy(path: Path, configuration: dict[str, Any]) -> Iterator[int]:
    """An Envoy with one worker and nothing but its `configuration`; gives its pid."""
    path.write_bytes(msgspec.json.encode(configuration))
    process = subprocess.Popen(
        [find_envoy(), "-c", str(path), "--concurrency", "1", "--use-dynamic-base-id", "-l", "error"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def answering(port: int, body: bytes = ANSWER) -> dict[str, Any]:
    """An Envoy that answers everything by itself."""
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": body.decode()}}}
    return {"static_resources": {"listeners": [_listener(port, route)]}}


def forwarding(port: int, upstream_port: int) -> dict[str, Any]:
    """A bare Envoy before one upstream."""
    cluster = {
        "name": "upstream", "type": "STATIC", "connect_timeout": "1s",
        "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [{"endpoint": {
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": upstream_port}}}}]}]},
    }  # fmt: skip
    listener = _listener(port, {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}})
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _listener(port: int, route: dict[str, Any]) -> dict[str, Any]:
    kind = "type.googleapis.com/envoy.extensions.filters"
    manager = {
        "@type": f"{kind}.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "bench",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": f"{kind}.http.router.v3.Router"}}],
    }  # fmt: skip
    return {
        "name": "bench",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }


@contextlib.asynccontextmanager
async def registered(platform: Platform, port: int, instance: str = "bench-1") -> AsyncIterator[None]:
    """Make the upstream a service of the mesh, like any other."""
    control_port = platform.state.ports()["gateway-1"]["control_port"]
    token = room_token(platform.state.secrets().get("platform"), "bench")
    registrar = LocalRegistrar(f"http://127.0.0.1:{control_port}", token)
    await registrar.register(
        {
            "service": "bench-service", "room": "bench", "instance": instance, "address": "127.0.0.1", "port": port,
            "management_port": port, "routes": [{"path": PATH, "methods": ["GET"], "access": "signed-in"}],
        }
    )  # fmt: skip
    try:
        yield
    finally:
        await registrar.deregister()


async def until_answered(shop: Shop, token: str) -> None:
    """Return once the bench's operation is served; raises TimeoutError."""
    async with asyncio.timeout(READY_TIMEOUT_S):
        while True:
            with contextlib.suppress(Refused, OSError):
                await shop.call("GET", PATH, token=token)
                return
            await asyncio.sleep(0.05)


def two_cores() -> tuple[int, int]:
    cores = sorted(os.sched_getaffinity(0))
    return cores[0], cores[-1]


def pin(pid: int, core: int) -> None:
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), {core})
