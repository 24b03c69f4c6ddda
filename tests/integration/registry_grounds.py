"""One ground a registry: the same mesh, and what a test of registries does to it, done the way of each."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from tests.integration.mesh_lab import PATIENCE_S, SECRET, Lab, description, until
from tradewind.chassis.lifecycle import Registrar
from tradewind.chassis.settings import load
from tradewind.mesh.identity import room_token
from tradewind.mesh.registries import registrar_of
from tradewind.services.order.settings import OrderSettings
from tradewind.stack.consul import ConsulEngine

ROUTE = {"path": "/v1/orders", "methods": ["GET", "POST"], "idempotent": False}
_RUN_INSTANCE = """
import asyncio, json, os, sys
from tests.integration.mesh_lab import Echo, description
from tests.integration.registry_grounds import ROUTE, registrar
async def main():
    name = sys.argv[1]
    async with Echo(name).running() as echo:
        await registrar(json.loads(sys.argv[2])).register(description(name, echo.port, ROUTE))
        print("registered", flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


def registrar(environ: dict[str, str]) -> Registrar:
    """What `tradewind run order` makes of this environment."""
    nowhere = {"ORDER_DATABASE_URL": "postgresql://nowhere/", "REGISTRY_TOKEN": room_token(SECRET, "order")}
    found = registrar_of(load(OrderSettings, nowhere | environ))
    assert found is not None
    return found


class Ground(ABC):
    """A mesh with one kind of registry. `gone_within_s`: how long a dead instance may be known."""

    gone_within_s: float

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._registered: list[Registrar] = []

    @property
    @abstractmethod
    def environ(self) -> dict[str, str]:
        """What tells an instance where the registry is."""

    @abstractmethod
    async def go_away(self) -> None:
        """The registry ends without a word."""

    @abstractmethod
    async def come_back(self, *, empty: bool) -> None:
        """It is there again, with what it knew or without."""

    @abstractmethod
    async def listed(self) -> list[str]:
        """Instances of order-service that the registry itself has."""

    @abstractmethod
    async def intrude(self, port: int) -> None:
        """Who has no room's token does what can be done to get an instance `order-666` on `port` known."""

    async def register(self, instance: str, port: int, **more: Any) -> Registrar:
        """Register as a service does; return once Envoy sends requests there."""
        made = registrar(self.environ)
        await made.register(description(instance, port, ROUTE, **more))
        self._registered.append(made)
        await self.until_known(instance)
        return made

    async def leave(self, made: Registrar) -> None:
        """Deregister as a service does."""
        self._registered.remove(made)
        await made.deregister()

    async def known(self) -> list[str]:
        """Names of the instances that get requests."""
        status = await self.lab.status()
        return [each["instance"] for service in status["services"] for each in service["instances"]]

    async def until_known(self, instance: str) -> None:
        """Wait until an instance gets requests."""

        async def is_known() -> bool:
            status = await self.lab.status()
            return bool(status["accepted"]) and instance in await self.known()

        await until(is_known, f"{instance} to be known")

    async def until_forgotten(self, instance: str) -> None:
        """Wait until an instance gets no requests."""

        async def is_forgotten() -> bool:
            return instance not in await self.known()

        await until(is_forgotten, f"{instance} to be forgotten", patience_s=self.gone_within_s)

    async def status(self, path: str = "/v1/orders") -> int:
        """What the edge answers."""
        try:
            async with self.lab.session.get(self.lab.edge + path) as answer:
                await answer.read()
                return answer.status
        except aiohttp.ClientError:
            return 0

    @contextlib.asynccontextmanager
    async def process(self, instance: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A registered instance as a process of its own, to be killed."""
        import json

        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _RUN_INSTANCE, instance, json.dumps(self.environ),
            cwd=Path(__file__).parents[2], stdout=asyncio.subprocess.PIPE, env=dict(os.environ),
        )  # fmt: skip
        try:
            assert process.stdout is not None
            async with asyncio.timeout(PATIENCE_S):
                while await process.stdout.readline() != b"registered\n":
                    assert process.returncode is None
            await self.until_known(instance)
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def close(self) -> None:
        """Take back what was registered."""
        await asyncio.gather(*(each.deregister() for each in self._registered))


class LocalGround(Ground):
    """The gateway is the registry: what happens to one happens to both."""

    gone_within_s = 14.0  # a lease of 10 s, and a busy machine

    @property
    def environ(self) -> dict[str, str]:
        return {"REGISTRY_URL": self.lab.control}

    async def go_away(self) -> None:
        await self.lab.kill()

    async def come_back(self, *, empty: bool) -> None:
        if empty:
            (self.lab.folder / "state/registry.json").unlink()
        await self.lab.start()

    async def listed(self) -> list[str]:
        return await self.known()

    async def intrude(self, port: int) -> None:
        for token in ("", "0" * 64, room_token("another platform", "order"), room_token(SECRET, "user")):
            async with self.lab.session.post(
                f"{self.lab.control}/v1/instances",
                json=description("order-666", port, ROUTE),
                headers={"authorization": f"Bearer {token}"},
            ) as answer:
                assert answer.status in (401, 403)


class ConsulGround(Ground):
    """A real agent, with its data on disk."""

    gone_within_s = 14.0  # a TTL of 10 s, and a busy machine

    def __init__(self, lab: Lab, engine: ConsulEngine, folder: Path) -> None:
        super().__init__(lab)
        self.engine = engine
        self._folder = folder

    @property
    def environ(self) -> dict[str, str]:
        return {"REGISTRY_URL": self.engine.url}

    async def go_away(self) -> None:
        await self.engine.kill()

    async def come_back(self, *, empty: bool) -> None:
        if empty:
            await asyncio.to_thread(shutil.rmtree, self._folder / "data")
        await self.engine.start()

    async def listed(self) -> list[str]:
        url = f"http://{self.engine.address}/v1/health/service/order-service?passing=1"
        async with self.lab.session.get(url) as answer:
            return [entry["Service"]["ID"] for entry in await answer.json()]

    async def intrude(self, port: int) -> None:
        """The agent takes it from anybody, here without access control; so somebody copies what a real instance wrote."""
        async with self.lab.session.get(f"http://{self.engine.address}/v1/health/service/order-service") as answer:
            entries = await answer.json()
        meta = entries[0]["Service"]["Meta"] if entries else {}
        for name, forged in (("order-666", meta), ("order-667", {}), ("order-1", meta)):
            record = {
                "ID": name, "Name": "order-service", "Tags": ["tradewind"],
                "Address": "127.0.0.1", "Port": port, "Meta": forged,
            }  # fmt: skip
            if name == "order-1" and not meta:
                continue
            async with self.lab.session.put(
                f"http://{self.engine.address}/v1/agent/service/register", json=record
            ) as answer:
                assert answer.status == 200

        async def refused() -> bool:
            registry = (await self.lab.status())["registry"]
            return any("order-666" in reason for reason in registry["refused"])

        await until(refused, "the intruder to be noticed")
