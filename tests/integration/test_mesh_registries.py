"""One suite over every registry: who is there, who is not, and what happens when the registry itself is away."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.dns_ground import DOMAIN, DnsGround, NameServer
from tests.integration.mesh_lab import Echo, free_ports, mesh_lab, until
from tests.integration.registry_grounds import ConsulGround, Ground, LocalGround
from tradewind.stack.consul import ConsulEngine

OPENAPI = {"openapi": "3.1.0", "info": {}, "paths": {"/v1/orders": {"get": {"summary": "Orders"}}}}


@contextlib.asynccontextmanager
async def ground_of(kind: str, folder: Path) -> AsyncIterator[Ground]:
    """A ground of this kind; everything it started is gone afterwards."""
    async with contextlib.AsyncExitStack() as stack:
        ground: Ground
        if kind == "consul":
            engine = await stack.enter_async_context(ConsulEngine(folder / "consul"))
            lab = await stack.enter_async_context(mesh_lab(folder, {"REGISTRY_URL": engine.url}))
            ground = ConsulGround(lab, engine, folder / "consul")
        elif kind == "dns":
            server = NameServer()
            await server.start()
            stack.callback(server.stop)
            port, management_port = free_ports(2)
            url = f"dns://127.0.0.1:{server.port}/{DOMAIN}?port={port}&management_port={management_port}"
            lab = await stack.enter_async_context(mesh_lab(folder, {"REGISTRY_URL": url}))
            ground = DnsGround(lab, server, url, (port, management_port))
        else:
            lab = await stack.enter_async_context(mesh_lab(folder))
            ground = LocalGround(lab)
        stack.push_async_callback(ground.close)
        yield ground


@pytest.fixture(params=["local", "consul", "dns"])
async def ground(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ground]:
    """A mesh with each kind of registry."""
    if request.param == "consul":
        request.getfixturevalue("consul_program")
    async with ground_of(request.param, tmp_path) as ground:
        yield ground


async def test_an_instance_that_registers_gets_requests_and_its_routes_and_document_are_known(ground: Ground) -> None:
    assert await ground.status() == 404
    async with Echo("order-1").running() as order:
        await ground.register("order-1", order.port, openapi=OPENAPI)
        assert await ground.status() == 200
        async with ground.lab.session.get(f"{ground.lab.edge}/openapi.json") as answer:
            assert (await answer.json())["paths"]["/v1/orders"]["get"]["summary"] == "Orders"
        status = await ground.lab.status()
        assert status["registry"]["answers"] is True
        assert [
            (route["method"], route["path"]) for route in status["routes"] if route["service"] == "order-service"
        ] == [
            ("GET", "/v1/orders"),
            ("POST", "/v1/orders"),
        ]


async def test_an_instance_that_leaves_is_gone_without_a_failed_request(ground: Ground) -> None:
    async with Echo("order-1").running() as stays:
        await ground.register("order-1", stays.port)
        answers: list[int] = []
        done = asyncio.Event()

        async def ask() -> None:
            while not done.is_set():
                answers.append(await ground.status())

        asking = [asyncio.create_task(ask()) for _ in range(4)]
        for _ in range(3):
            async with Echo("order-2").running() as leaves:
                made = await ground.register("order-2", leaves.port)
                await until(lambda leaves=leaves: leaves.requests, "a request to reach it")
                await ground.leave(made)
                # No request may be under way or come from here on: it stops listening without a word.
                before = len(leaves.requests)
                so_far = len(answers)
                await until(lambda so_far=so_far: len(answers) > so_far + 40, "traffic to go on")
                assert len(leaves.requests) == before, "it still got requests after it had left"
        done.set()
        await asyncio.gather(*asking)
        assert len(answers) > 200
        assert set(answers) == {200}


async def test_an_instance_that_dies_is_gone_within_its_term_and_nobody_notices(ground: Ground) -> None:
    async with Echo("order-1").running() as stays, ground.process("order-2") as dies:
        await ground.register("order-1", stays.port)
        dies.kill()
        died_s = time.monotonic()
        answers = [await ground.status() for _ in range(200)]
        assert set(answers) == {200}
        await ground.until_forgotten("order-2")
        assert time.monotonic() - died_s < ground.gone_within_s
        assert await ground.known() == ["order-1"]


@pytest.mark.parametrize("empty", [False, True], ids=["with what it knew", "empty"])
async def test_a_registry_that_was_away_finds_everybody_again_by_themselves(ground: Ground, empty: bool) -> None:
    async with Echo("order-1").running() as first, Echo("order-2").running() as second:
        await ground.register("order-1", first.port)
        await ground.go_away()
        await ground.come_back(empty=empty)
        await ground.until_known("order-1")
        assert await ground.status() == 200

        async def is_listed() -> bool:
            return "order-1" in await ground.listed()

        await until(is_listed, "it to register again by itself")
        await ground.register("order-2", second.port)
        made = ground._registered[0]
        await ground.leave(made)
        await ground.until_forgotten("order-1")
        assert await ground.known() == ["order-2"]


async def test_who_has_no_room_token_gets_no_requests(ground: Ground) -> None:
    async with Echo("rogue").running() as rogue, Echo("order-2").running() as order:
        await ground.register("order-2", order.port)
        await ground.intrude(rogue.port)
        for _ in range(20):
            assert await ground.status() == 200
        assert await ground.known() == ["order-2"]
        assert [request for request in rogue.requests if "orders" in request] == []
