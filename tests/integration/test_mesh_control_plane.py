"""The control plane itself: who may register, what survives its death, and how a refused configuration shows."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from tests.integration.mesh_lab import SECRET, Echo, Issuer, Lab, description, free_ports, mesh_lab, until
from tradewind.chassis.clock import SystemClock
from tradewind.chassis.metrics import Metrics
from tradewind.chassis.settings import Secret
from tradewind.mesh.bootstrap import bootstrap_config, envoy_command
from tradewind.mesh.clusters import service_cluster
from tradewind.mesh.envoy_binary import find_envoy
from tradewind.mesh.envoy_process import EnvoyProcess
from tradewind.mesh.identity import room_token
from tradewind.mesh.policy.defaults import DEFAULT
from tradewind.mesh.registries.local_registrar import LocalRegistrar
from tradewind.services.gateway import usecases
from tradewind.services.gateway.app import make_parts
from tradewind.services.gateway.control import control_app
from tradewind.services.gateway.control_server import serving
from tradewind.services.gateway.settings import GatewaySettings

ROUTE = {"path": "/v1/orders", "methods": ["GET"]}


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with mesh_lab(tmp_path) as lab:
        yield lab


async def call(lab: Lab, method: str, path: str, *, token: str = "", body: Any = None) -> tuple[int, Any]:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with lab.session.request(method, lab.control + path, headers=headers, json=body) as answer:
        text = await answer.text()
        return answer.status, json.loads(text or "null")


async def edge_status(lab: Lab, path: str = "/v1/orders", token: str = "") -> int:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        async with lab.session.get(lab.edge + path, headers=headers) as answer:
            return answer.status
    except aiohttp.ClientError:
        return 0


async def test_only_a_rooms_own_token_registers_it(lab: Lab) -> None:
    order, payment = room_token(SECRET, "order"), room_token(SECRET, "payment")
    body = description("order-1", 1000, ROUTE)
    assert (await call(lab, "POST", "/v1/instances", body=body))[0] == 401
    for wrong in (payment, "0" * 64, room_token("another secret", "order")):
        status, problem = await call(lab, "POST", "/v1/instances", token=wrong, body=body)
        assert (status, problem["code"]) == (403, "room-not-yours")
    for disguise in ({"service": "payment-service"}, {"instance": "payment-1"}):
        status, problem = await call(lab, "POST", "/v1/instances", token=order, body={**body, **disguise})
        assert (status, problem["code"]) == (403, "name-not-yours")
    assert await edge_status(lab) == 404

    status, lease = await call(lab, "POST", "/v1/instances", token=order, body=body)
    assert (status, lease["lease_s"]) == (201, 10.0)
    path = "/v1/instances/order-1"
    assert (await call(lab, "PUT", f"{path}/lease", token=payment, body={"lease_id": lease["lease_id"]}))[0] == 403
    assert (await call(lab, "PUT", f"{path}/lease", token=order, body={"lease_id": "guess"}))[0] == 404
    assert (await call(lab, "PUT", f"{path}/lease", token=order, body={"lease_id": lease["lease_id"]}))[0] == 204
    assert (await call(lab, "GET", "/v1/instances"))[0] == 401
    assert (await call(lab, "GET", "/v1/instances", token="1" * 64))[0] == 403
    _, listed = await call(lab, "GET", "/v1/instances", token=payment)
    assert [item["instance"] for item in listed["items"]] == ["order-1"]
    assert (await call(lab, "DELETE", path, token=payment))[0] == 403
    assert (await call(lab, "DELETE", path, token=order))[0] == 204
    assert (await call(lab, "DELETE", path, token=order))[0] == 404


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"port": 0}, 422),
        ({"address": "a b"}, 422),
        ({"routes": [{"path": "no-slash", "methods": ["GET"]}]}, 422),
        ({"routes": [{"path": "/v1/{a", "methods": ["GET"]}]}, 422),
        ({"routes": [{"path": "/v1/a", "methods": ["TRACE"]}]}, 422),
        ({"routes": [{"path": "/v1/a", "methods": []}]}, 422),
        ({"routes": [{"path": "/v1/a", "methods": ["GET"], "timeout_s": -1}]}, 422),
        ({"openapi": {"paths": "x" * 5_000_000}}, 413),
    ],
)
async def test_a_wrong_registration_is_refused_whole(lab: Lab, change: dict[str, Any], status: int) -> None:
    body = {**description("order-1", 1000, ROUTE), **change}
    found, problem = await call(lab, "POST", "/v1/instances", token=room_token(SECRET, "order"), body=body)
    assert found == status, problem
    assert (await lab.status())["services"] == []


async def test_an_instance_may_give_a_name_or_listen_everywhere(lab: Lab) -> None:
    async with Echo("one").running() as one:
        for address in ("localhost", "0.0.0.0"):
            registrar = await lab.register("order-1", one.port, ROUTE, address=address)
            assert await edge_status(lab) == 200
            await registrar.deregister()
    body = description("order-1", 1000, ROUTE, address="no-such-host.invalid")
    status, problem = await call(lab, "POST", "/v1/instances", token=room_token(SECRET, "order"), body=body)
    assert (status, problem["code"]) == (422, "address-unknown")


async def test_an_instance_that_falls_silent_is_forgotten_and_one_that_beats_is_not(lab: Lab) -> None:
    async with Echo("one").running() as one:
        silent = description("order-1", one.port, ROUTE)
        await call(lab, "POST", "/v1/instances", token=room_token(SECRET, "order"), body=silent)
        await lab.register("user-1", one.port, {"path": "/v1/users", "methods": ["GET"]})
        assert await edge_status(lab) == 200

        async def gone() -> bool:
            return await edge_status(lab) == 503  # the path stays known

        await until(gone, "the lease to end", patience_s=15)
        assert await edge_status(lab, "/v1/users") == 200


async def test_a_killed_control_plane_comes_back_with_all_it_knew(tmp_path: Path) -> None:
    issuer = Issuer()
    async with mesh_lab(tmp_path) as lab, contextlib.AsyncExitStack() as stack:
        auth = contextlib.AsyncExitStack()
        keys = await auth.enter_async_context(Echo("auth", key_set=issuer.key_set).running())
        order = await stack.enter_async_context(Echo("order").running())
        auth_lease = await lab.register("auth-1", keys.port, {"path": "/.well-known/jwks.json", "methods": ["GET"]})
        document = {"paths": {"/v1/orders": {"get": {"operationId": "list_orders"}}}}
        body = description("order-1", order.port, {**ROUTE, "access": "signed-in"}, openapi=document)
        await call(lab, "POST", "/v1/instances", token=room_token(SECRET, "order"), body=body)

        async def serves() -> bool:
            return await edge_status(lab, token=issuer.token()) == 200

        await until(serves, "the keys to arrive")
        assert lab.process is not None
        envoy = psutil.Process(lab.process.pid).children()[0]
        await lab.kill()
        await until(
            lambda: not envoy.is_running() or envoy.status() == psutil.STATUS_ZOMBIE, "its Envoy to end with it"
        )
        await auth.aclose()  # auth is down: keys can only come from disk
        await auth_lease.deregister()

        await lab.start()
        await until(serves, "a valid token to pass with auth down and everything else restarted", patience_s=5)
        async with lab.session.get(f"{lab.edge}/openapi.json") as answer:
            assert "/v1/orders" in (await answer.json())["paths"]
        async with lab.session.get(f"{lab.edge}/.well-known/jwks.json") as answer:
            assert await answer.json() == issuer.key_set


async def test_instances_register_again_by_themselves_after_a_restart(tmp_path: Path) -> None:
    async with mesh_lab(tmp_path) as lab, Echo("order").running() as order:
        registrar = await lab.register("order-1", order.port, ROUTE)
        await lab.kill()
        (tmp_path / "state" / "registry.json").unlink()
        await lab.start()
        assert await edge_status(lab) == 404

        async def back() -> bool:
            return await edge_status(lab) == 200

        await until(back, "the next heartbeat to be refused and the instance to register", patience_s=10)
        await registrar.deregister()
        assert await edge_status(lab) == 503


async def test_a_registrar_waits_for_a_control_plane_that_is_down(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    registrar = LocalRegistrar(f"http://127.0.0.1:{port}", room_token(SECRET, "order"))
    registering = asyncio.create_task(registrar.register(description("order-1", 1000, ROUTE)))
    await asyncio.sleep(0.5)
    assert not registering.done()
    parts, settings = external_parts(tmp_path, control_port=port)
    async with serving(control_app(parts), settings.host, port, before_stop=parts.xds.close):
        await asyncio.wait_for(registering, 5)
        assert [instance.instance for instance in parts.registry.instances()] == ["order-1"]
    async with asyncio.timeout(5):
        await registrar.deregister()  # nobody there: bounded, and no error


def external_parts(folder: Path, **ports: int) -> Any:
    others = iter(free_ports(6))
    settings = GatewaySettings(
        **{
            "port": next(others),
            "control_port": next(others),
            "edge_port": next(others),
            "egress_port": next(others),
            "envoy_admin_port": next(others),
            "edge_host": "127.0.0.1",
            "state_dir": str(folder / "state"),
            "registry_secret": Secret(SECRET),
            "access_log": os.devnull,
            **ports,
        }  # type: ignore[arg-type]
    )
    return make_parts(settings, Metrics(), SystemClock()), settings


async def test_a_configuration_that_envoy_refuses_shows_and_does_no_harm(tmp_path: Path) -> None:
    parts, settings = external_parts(tmp_path)
    bootstrap = tmp_path / "envoy.json"
    bootstrap.write_text(json.dumps(bootstrap_config(settings.bootstrap)))
    command = envoy_command(find_envoy(), str(bootstrap), concurrency=1)
    async with (
        serving(control_app(parts), settings.host, settings.control_port, before_stop=parts.xds.close),
        EnvoyProcess(command, parts.xds.note_refusal).running(),
        aiohttp.ClientSession() as session,
    ):
        edge = f"http://127.0.0.1:{settings.edge_port}/nothing"

        async def serves() -> bool:
            try:
                async with session.get(edge) as answer:
                    return answer.status == 404
            except aiohttp.ClientError:
                return False

        async def status() -> dict[str, Any]:
            await usecases.observe_envoy(parts)
            return usecases.mesh_status(parts)

        async def settled() -> bool:
            return (await status())["accepted"]

        await until(serves, "Envoy to start")
        await until(settled, "Envoy to take its first configuration")
        unknown_field = service_cluster("order-service", DEFAULT) | {"no_such_field": 1}
        good = {"clusters": {}, "endpoints": {}, "routes": {}}
        parts.xds.publish({**good, "clusters": {"order-service": unknown_field}})

        async def refused() -> Any:
            return next((standing for standing in parts.xds.standings() if standing.refused and standing.reason), None)

        standing = await until(refused, "the refusal to be noticed")
        assert standing.kind == "clusters"
        assert "no_such_field" in standing.reason
        found = await status()
        assert not found["accepted"]
        assert any("cds" in name for name in found["envoy"]["refused_updates"])
        assert await serves()

        parts.control_plane.publish()
        await until(settled, "the next configuration to be taken")
        assert not [standing for standing in parts.xds.standings() if standing.refused]
    await parts.envoy.close()


async def test_an_envoy_that_died_holds_nobody_up(tmp_path: Path) -> None:
    parts, settings = external_parts(tmp_path)
    bootstrap = tmp_path / "envoy.json"
    bootstrap.write_text(json.dumps(bootstrap_config(settings.bootstrap)))
    command = envoy_command(find_envoy(), str(bootstrap), concurrency=1)
    async with serving(control_app(parts), settings.host, settings.control_port, before_stop=parts.xds.close):
        envoy = await asyncio.create_subprocess_exec(*command)
        await until(parts.xds.nodes, "Envoy to poll")
        envoy.kill()
        await envoy.wait()
        await until(lambda: not parts.xds.nodes(), "its absence to be noticed", patience_s=5)
    await parts.envoy.close()


async def test_the_gateways_own_metrics_say_how_the_mesh_stands(lab: Lab) -> None:
    async def told() -> str | None:
        async with lab.session.get(f"{lab.management}/metrics") as answer:
            text = await answer.text()
        return text if "mesh_envoy_live 1.0" in text else None

    text = await until(told, "Envoy to be seen")
    assert "mesh_subscriptions_behind 0.0" in text
    assert "mesh_envoy_refused_updates 0.0" in text


async def test_a_leaving_gateway_takes_its_envoy_along_and_ends_well(tmp_path: Path) -> None:
    async with mesh_lab(tmp_path) as lab:
        assert lab.process is not None
        envoy = psutil.Process(lab.process.pid).children()[0]
        async with Echo("order").running() as order:
            await lab.register("order-1", order.port, {"path": "/v1/slow", "methods": ["GET"]})
            under_way = asyncio.create_task(edge_status(lab, "/v1/slow"))
            await until(lambda: order.requests, "the request to be under way")
            assert await lab.stop() == 0
            assert await under_way == 200
        assert not envoy.is_running()
