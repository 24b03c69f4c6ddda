"""An update that Envoy refuses: the old one stays and serves, and everybody who looks is told, with the reason."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.mesh_lab import SECRET, Echo, Lab, mesh_lab, until
from tradewind.mesh.identity import operator_token, room_token

pytestmark = pytest.mark.asyncio(loop_scope="function")

ROUTE = {"path": "/v1/orders", "methods": ["GET"]}
POISONED = """
import tradewind.mesh.control_plane as plane
made = plane.service_cluster
plane.service_cluster = lambda name, policy, files=None: {
    **made(name, policy, files), **({"no_such_field": 1} if name == "poison-service" else {})
}
"""


async def data_plane(lab: Lab) -> dict[str, Any]:
    operator = {"authorization": f"Bearer {operator_token(SECRET)}"}
    async with lab.session.get(f"{lab.control}/v1/mesh/data-plane", headers=operator) as answer:
        found: dict[str, Any] = await answer.json()
        return found


async def command(lab: Lab, *words: str) -> tuple[int, str]:
    """Exit code and output of `tradewind mesh ...` against the lab."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tradewind.cli", "mesh", *words, "--url", lab.control,
        env={**os.environ, "TRADEWIND_HOME": str(lab.folder), "REGISTRY_TOKEN": room_token(SECRET, "order")}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_a_refused_update_is_told_with_its_reason_and_traffic_goes_on(tmp_path: Path) -> None:
    async with mesh_lab(tmp_path, first=POISONED) as lab, Echo("order-1").running() as echo:
        await lab.register("order-1", echo.port, ROUTE)
        code, told = await command(lab, "clusters")
        assert code == 0, told
        assert "REFUSED" not in told
        await lab.register("user-1", echo.port, {"path": "/v1/users", "methods": ["GET"]})
        for row in (await data_plane(lab))[
            "clusters"
        ]:  # also that of order-service, which the last version left as it was
            assert row["loaded"] == row["wanted"], row
        accepted = {row["name"]: row["loaded"] for row in (await data_plane(lab))["route_configurations"]}

        statuses: list[int] = []
        stop = asyncio.Event()

        async def traffic() -> None:
            while not stop.is_set():
                async with lab.session.get(f"{lab.edge}/v1/orders") as answer:
                    statuses.append(answer.status)
                await asyncio.sleep(0.01)

        running = asyncio.create_task(traffic())
        await lab.register("poison-1", echo.port, {"path": "/v1/poison", "methods": ["GET"]})

        async def told_refused() -> Any:
            return [each for each in (await data_plane(lab))["refused"] if "no_such_field" in each["reason"]]

        (refused,) = await until(told_refused, "the refusal to be told")
        assert (refused["kind"], refused["node"]) == ("clusters", "envoy")
        assert refused["accepted"] != refused["current"] == refused["refused"]

        async def measured() -> bool:
            async with lab.session.get(f"{lab.management}/metrics") as answer:
                lines = (await answer.text()).splitlines()
            figures = dict(line.rsplit(" ", 1) for line in lines if line.startswith("mesh_"))
            return (
                float(figures["mesh_subscriptions_behind"]) >= 1 and float(figures["mesh_envoy_refused_updates"]) >= 1
            )

        await until(measured, "the metrics behind the alert")
        before = len(statuses)
        await until(lambda: len(statuses) > before + 50, "traffic to go on")
        stop.set()
        await running
        assert set(statuses) == {200}

        code, told = await command(lab, "clusters")
        assert code == 1
        assert "REFUSED" in told
        assert "no_such_field" in told
        code, told = await command(lab, "routes", "--format", "json")
        routes = {row["name"]: row for row in json.loads(told)["route_configurations"]}
        assert code == 0  # routes are another subscription, and those were taken
        assert routes["edge"]["loaded"] == routes["edge"]["wanted"] != accepted["edge"]


async def test_one_long_path_does_not_stop_the_routes_of_all_others(tmp_path: Path) -> None:
    async with mesh_lab(tmp_path) as lab, Echo("order-1").running() as echo:
        await lab.register("order-1", echo.port, {"path": "/v1/long" + "/{a}" * 120, "methods": ["GET"]}, ROUTE)
        async with lab.session.get(f"{lab.edge}/v1/orders") as answer:
            assert answer.status == 200
        async with lab.session.get(f"{lab.edge}/v1/long{'/x' * 120}") as answer:
            assert answer.status == 200


async def test_what_the_mesh_shows_is_what_envoy_does(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text("[services.order-service]\nlimits = { requests = 1 }\n")
    async with mesh_lab(tmp_path, policy_file=tmp_path / "policy.toml") as lab, Echo("order-1").running() as echo:
        await lab.register("order-1", echo.port, {"path": "/v1/{rest:path}", "methods": ["GET"]})
        async with lab.session.get(f"{lab.edge}/v1/x") as answer:
            assert answer.status == 200
        (cluster,) = (await data_plane(lab))["clusters"]
        assert cluster["loaded"] == cluster["wanted"]
        (endpoint,) = cluster["endpoints"]
        assert (endpoint["instance"], endpoint["state"], endpoint["requests"]) == ("order-1", "healthy", 1)
        assert endpoint["address"] == f"127.0.0.1:{echo.port}"

        async with lab.session.get(f"{lab.control}/v1/mesh/resources") as answer:
            assert answer.status == 401  # everything Envoy is told, for administrators only

        hanging = asyncio.create_task(lab.session.get(f"{lab.edge}/v1/hang"))
        await until(lambda: len(echo.requests) == 2, "a request to be under way")

        async def open_breaker() -> bool:
            return "OPEN: rq" in (await command(lab, "clusters"))[1]

        await until(open_breaker, "the open breaker to be shown")
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)

        code, told = await command(lab, "policy")
        assert code == 0
        assert "order-service" in told
        assert "user-service  GET     /v1/users/me/addresses/{id}" in told
        (tmp_path / "policy.toml").write_text("[services.order-service]\nbalancing = 3\n")

        async def told_wrong() -> bool:
            code, told = await command(lab, "policy")
            return code == 1 and "policy-invalid: [services.order-service] balancing: 3 is not possible" in told

        await until(told_wrong, "the mistake to be shown")
