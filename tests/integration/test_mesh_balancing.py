"""Several instances behind a real Envoy: shared load, deaths, changes under load, and what is sent twice."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.integration.mesh_lab import Echo, Lab, echo_process, free_ports, mesh_lab, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANY: tuple[dict[str, Any], ...] = (
    {"path": "/v1/get/{rest:path}", "methods": ["GET"]},
    {"path": "/v1/post/{rest:path}", "methods": ["POST"]},
    {"path": "/v1/keyed/{rest:path}", "methods": ["POST"], "idempotent": True},
)
KEY = {"idempotency-key": "k-1"}


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    async with mesh_lab(tmp_path_factory.mktemp("mesh")) as lab:
        yield lab


@pytest_asyncio.fixture(loop_scope="module")
async def lab(shared: Lab) -> AsyncIterator[Lab]:
    """The lab with no instance in it; whatever a test registers is gone after it."""
    yield shared
    await shared.forget()


class Load:
    """Requests in a steady stream, and what became of each."""

    def __init__(self, session: aiohttp.ClientSession, url: str, *, method: str = "GET", workers: int = 4) -> None:
        self.outcomes: collections.Counter[str] = collections.Counter()
        self._session, self._url, self._method, self._workers = session, url, method, workers

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Load]:
        stop = asyncio.Event()
        tasks = [asyncio.create_task(self._work(stop)) for _ in range(self._workers)]
        try:
            yield self
        finally:
            stop.set()
            await asyncio.gather(*tasks)

    async def _work(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                async with self._session.request(self._method, self._url) as answer:
                    told = await answer.json(content_type=None)
                    self.outcomes[told["name"] if answer.status == 200 else str(answer.status)] += 1
            except (aiohttp.ClientError, TimeoutError) as exc:
                self.outcomes[type(exc).__name__] += 1
            await asyncio.sleep(0.002)

    @property
    def total(self) -> int:
        return self.outcomes.total()


async def test_two_instances_share_the_load_at_the_edge_and_in_the_mesh(lab: Lab) -> None:
    async with Echo("one").running() as one, Echo("two").running() as two:
        await lab.register("order-1", one.port, *ANY)
        await lab.register("order-2", two.port, *ANY)
        for url, headers in ((f"{lab.edge}/v1/get/x", {}), (f"{lab.egress}/v1/get/x", {"host": "order-service"})):
            names: collections.Counter[str] = collections.Counter()
            for _ in range(60):
                async with lab.session.get(url, headers=headers) as answer:
                    names[(await answer.json())["name"]] += 1
            assert set(names) == {"one", "two"}
            assert min(names.values()) >= 12


async def test_a_killed_instance_costs_no_request_and_leaves_rotation_within_a_second(lab: Lab) -> None:
    port_one, port_two = free_ports(2)
    async with echo_process("one", port_one) as one, echo_process("two", port_two):
        await lab.register("order-1", port_one, *ANY)
        await lab.register("order-2", port_two, *ANY)
        async with Load(lab.session, f"{lab.edge}/v1/get/x").running() as load:
            await until(lambda: load.outcomes["one"] > 50 and load.outcomes["two"] > 50, "both to answer")
            one.kill()
            killed_s = time.monotonic()

            async def out_of_rotation() -> bool:
                async with lab.session.get(f"{lab.admin}/clusters") as answer:
                    text = await answer.text()
                return f"order-service::127.0.0.1:{port_one}::health_flags::/failed_outlier_check" in text

            await until(out_of_rotation, "the dead instance to leave rotation", patience_s=3)
            took_s = time.monotonic() - killed_s
            before = load.total
            await until(lambda: load.total > before + 100, "the load to go on")
        assert set(load.outcomes) == {"one", "two"}, load.outcomes
        assert took_s < 1.0


async def test_a_lone_instance_is_back_at_once_after_its_death(lab: Lab) -> None:
    (port,) = free_ports(1)
    await lab.register("order-1", port, *ANY)
    for _ in range(20):
        async with lab.session.get(f"{lab.edge}/v1/get/x") as answer:
            assert answer.status == 503
    async with Echo("one", port=port).running():
        async with lab.session.get(f"{lab.edge}/v1/get/x") as answer:
            assert answer.status == 200


async def test_a_rolling_change_under_load_loses_no_request(lab: Lab) -> None:
    async with contextlib.AsyncExitStack() as stack:
        first = contextlib.AsyncExitStack()
        echo = await first.enter_async_context(Echo("0").running())
        current = (await lab.register("order-0", echo.port, *ANY), first)
        async with (
            Load(lab.session, f"{lab.edge}/v1/get/x").running() as reads,
            Load(lab.session, f"{lab.edge}/v1/post/x", method="POST").running() as writes,
        ):
            for number in range(1, 9):
                room = contextlib.AsyncExitStack()
                echo = await room.enter_async_context(Echo(str(number)).running())
                following = await lab.register(f"order-{number}", echo.port, *ANY)
                leaving, its_room = current
                await leaving.deregister()
                before = echo.requests.copy()
                await asyncio.sleep(0.02)  # what a service spends draining: requests under way end
                await its_room.aclose()
                current = (following, room)
                await until(
                    lambda echo=echo, before=before: len(echo.requests) > len(before) + 10, "the new one to serve"
                )
        stack.push_async_callback(current[1].aclose)
        for load in (reads, writes):
            assert set(load.outcomes) <= {str(number) for number in range(9)}, load.outcomes
            assert load.total > 100


async def test_nothing_reaches_an_instance_that_has_left(lab: Lab) -> None:
    async with Echo("one").running() as one, Echo("two").running() as two:
        leaving = await lab.register("order-1", one.port, *ANY)
        await lab.register("order-2", two.port, *ANY)
        async with Load(lab.session, f"{lab.edge}/v1/get/x", workers=8).running() as load:
            await until(lambda: len(one.requests) > 20, "both to answer")
            await leaving.deregister()
            await asyncio.sleep(0.005)  # workers of Envoy take the change over a moment after its main thread
            seen, total = len(one.requests), load.total
            await until(lambda: load.total > total + 200, "the load to go on")
        assert len(one.requests) == seen


@pytest.mark.parametrize(
    ("method", "path", "headers", "tries"),
    [
        ("GET", "/v1/get/die", {}, 4),
        ("POST", "/v1/keyed/die", KEY, 4),
        ("POST", "/v1/keyed/die", {}, 1),
        ("POST", "/v1/post/die", KEY, 1),
        ("GET", "/v1/get/503", {}, 1),
        ("GET", "/v1/get/elsewhere", {}, 4),
        ("POST", "/v1/post/elsewhere", {}, 1),
    ],
)
async def test_only_what_may_be_repeated_is_sent_again(
    lab: Lab, method: str, path: str, headers: dict[str, str], tries: int
) -> None:
    async with Echo("one").running() as one:
        await lab.register("order-1", one.port, *ANY)
        async with lab.session.request(method, lab.edge + path, headers=headers) as answer:
            assert answer.status == 503
            assert "x-tradewind-retry" not in answer.headers
        assert one.requests == [f"{method} {path}"] * tries
        one.requests.clear()
        if method == "GET" or "keyed" in path:
            async with lab.session.request(
                method, lab.egress + path, headers={**headers, "host": "order-service"}
            ) as answer:
                assert answer.status == 503
            assert len(one.requests) == tries


async def test_a_retry_goes_to_another_instance(lab: Lab) -> None:
    (dead_port,) = free_ports(1)
    async with Echo("alive").running() as alive:
        await lab.register("order-1", dead_port, *ANY)
        await lab.register("order-2", alive.port, *ANY)
        for _ in range(10):
            async with lab.session.post(f"{lab.edge}/v1/post/x", data=b"body") as answer:
                told = await answer.json()
                assert (answer.status, told["name"], told["body"]) == (200, "alive", "body")


async def test_an_unknown_service_is_a_404_problem_in_the_mesh(lab: Lab) -> None:
    async with lab.session.get(f"{lab.egress}/x", headers={"host": "nobody-service"}) as answer:
        assert answer.status == 404
        assert (await answer.json(content_type=None))["code"] == "not-found"


async def test_the_mesh_hands_on_ids_and_trace_as_the_caller_gave_them(lab: Lab) -> None:
    given = {
        "host": "order-service",
        "x-request-id": "4fb0473e-1da0-4dd0-b3c3-6b3f9cea4345",
        "traceparent": "00-0123456789abcdef0123456789abcdef-00f067aa0ba902b7-01",
        "x-tradewind-timeout-ms": "900",
    }
    async with Echo("one").running() as one:
        await lab.register("order-1", one.port, *ANY)
        claimed = {"x-tradewind-caller": "user-service"}
        async with lab.session.get(f"{lab.egress}/v1/get/x", headers=given | claimed) as answer:
            arrived = (await answer.json())["headers"]
    assert {name: arrived[name] for name in given} == given
    assert "x-tradewind-caller" not in arrived, "who calls is said by a certificate"
