"""A mesh whose instances are addresses in the DNS, with a DNS server and the part of Kubernetes that writes into it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
from starlette.applications import Starlette

from tests.integration.mesh_lab import SECRET, Lab, description, echo_process, until
from tests.integration.registry_grounds import ROUTE, Ground, registrar
from tradewind.chassis.lifecycle import Registrar
from tradewind.chassis.self_description import description_route
from tradewind.mesh.identity import room_token
from tradewind.services.gateway.control_server import serving

TTL_S = 1
DOMAIN = "mesh.test"


class NameServer(asyncio.DatagramProtocol):
    """Answers for addresses over UDP. `records`: name -> addresses; what is not there does not exist."""

    def __init__(self) -> None:
        self.records: dict[str, list[str]] = {}
        self.port = 0
        self._transport: asyncio.DatagramTransport | None = None

    async def start(self) -> None:
        """Listen, at the same port each time."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", self.port))
        self._transport, self.port = transport, transport.get_extra_info("sockname")[1]

    def stop(self) -> None:
        """Answer nobody."""
        if self._transport is not None:
            self._transport.close()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        assert self._transport is not None
        query = dns.message.from_wire(data)
        answer = dns.message.make_response(query, recursion_available=True)
        answer.flags |= dns.flags.AA
        asked = query.question[0]
        addresses = self.records.get(asked.name.to_text().rstrip("."))
        if addresses is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif asked.rdtype == dns.rdatatype.A and addresses:
            answer.answer.append(dns.rrset.from_text(asked.name, TTL_S, "IN", "A", *addresses))
        self._transport.sendto(answer.to_wire(), addr)


class DnsGround(Ground):
    """Every instance has an address of its own and the ports of all, as pods have."""

    gone_within_s = 14.0

    def __init__(self, lab: Lab, server: NameServer, url: str, ports: tuple[int, int]) -> None:
        super().__init__(lab)
        self.server = server
        self._url = url
        self._port, self._management_port = ports
        self._stack = contextlib.AsyncExitStack()
        self._addresses: dict[str, str] = {}
        self._pods = 0
        self._left: dict[Registrar, str] = {}

    @property
    def environ(self) -> dict[str, str]:
        return {"REGISTRY_URL": self._url}

    async def go_away(self) -> None:
        self.server.stop()

        async def is_missed() -> bool:
            return (await self.lab.status())["registry"]["answers"] is False

        await until(is_missed, "its absence to be noticed")

    async def come_back(self, *, empty: bool) -> None:
        await self.server.start()

    async def listed(self) -> list[str]:
        there = self.server.records.get(f"order-service.{DOMAIN}", [])
        return [instance for instance, address in self._addresses.items() if address in there]

    async def register(self, instance: str, port: int, **more: Any) -> Registrar:
        address = await self._pod(instance, port, room_token(SECRET, "order"), **more)
        made = registrar(self.environ)
        await made.register(description(instance, self._port, ROUTE, address=address))
        self._registered.append(made)
        self._left[made] = instance
        self._publish("order-service", address)
        await self.until_known(instance)
        return made

    async def leave(self, made: Registrar) -> None:
        self._withdraw("order-service", self._addresses[self._left[made]])
        await super().leave(made)

    @contextlib.asynccontextmanager
    async def process(self, instance: str) -> AsyncIterator[asyncio.subprocess.Process]:
        address = self._new_address(instance)
        async with echo_process(instance, self._port, address) as process:
            await self._speak(instance, address, room_token(SECRET, "order"))
            self._publish("order-service", address)
            await self.until_known(instance)

            async def bury() -> None:
                """What the kubelet and the DNS do when a pod's process has ended."""
                await process.wait()
                self._withdraw("order-service", address)

            burying = asyncio.create_task(bury())
            yield process
        await burying

    async def intrude(self, port: int) -> None:
        address = await self._pod("user-666", port, "0" * 64)
        self._publish("user-service", address)

        async def refused() -> bool:
            return any(
                "user-service is not signed" in reason for reason in (await self.lab.status())["registry"]["refused"]
            )

        await until(refused, "the intruder to be noticed")

    async def close(self) -> None:
        for made in list(self._registered):
            self._withdraw("order-service", self._addresses[self._left[made]])
        await super().close()
        await self._stack.aclose()

    def _publish(self, service: str, address: str) -> None:
        self.server.records.setdefault(f"{service}.{DOMAIN}", []).append(address)

    def _withdraw(self, service: str, address: str) -> None:
        self.server.records[f"{service}.{DOMAIN}"].remove(address)

    async def _pod(self, instance: str, port: int, token: str, **more: Any) -> str:
        """An address where the instance at `port` is reached, and where it says what it is. It ends with the ground."""
        address = self._new_address(instance)

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                writer.close()
                return
            pipes = [_pipe(reader, inner_writer), _pipe(inner_reader, writer)]
            await asyncio.gather(*pipes, return_exceptions=True)

        door = await asyncio.start_server(connected, address, self._port)
        self._stack.callback(door.close)
        await self._speak(instance, address, token, **more)
        return address

    def _new_address(self, instance: str) -> str:
        self._pods += 1
        address = self._addresses[instance] = f"127.0.0.{self._pods + 1}"
        return address

    async def _speak(self, instance: str, address: str, token: str, **more: Any) -> None:
        """Say at the management port of `address` what it is."""
        told = description(instance, self._port, ROUTE, address="0.0.0.0", **more)
        app = Starlette(routes=[description_route(lambda: told, token)])
        await self._stack.enter_async_context(serving(app, address, self._management_port, before_stop=lambda: None))


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    writer.close()
