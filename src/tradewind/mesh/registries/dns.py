"""The `dns` registry: a name a service (a Kubernetes headless service), whose addresses Envoy resolves itself (STRICT_DNS).

The DNS tells addresses and no more. Routes and documents are asked of the instances, at their management port, and taken from those
that sign with their room's token. Endpoints do not pass through here, so they change without the control plane.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping

import aiohttp
import msgspec

from tradewind.chassis.alongside import alongside
from tradewind.chassis.answers import read_answer
from tradewind.chassis.logs import get_logger
from tradewind.chassis.self_description import PATH, PROOF_HEADER, signature
from tradewind.mesh.description import Instance, Registration
from tradewind.mesh.discovery import KnownService, NamedEndpoint, Standing
from tradewind.mesh.identity import RoomIdentities
from tradewind.mesh.registries.dns_names import Names, NamesAway
from tradewind.mesh.registries.known import KnownServices
from tradewind.mesh.routes import template_faults
from tradewind.mesh.state_file import StateFile

SHORTEST_S, LONGEST_S = 0.5, 30.0
"""Bounds of how long an answer of the DNS is believed, whatever its TTL."""
ASK_TIMEOUT_S = 2.0
MAX_DESCRIPTION_BYTES = 4 * 1024 * 1024

_log = get_logger(__name__)


class _NotOurs(Exception):
    """An address that does not answer, or not as the room would."""


class DnsRegistry:
    """Follows the names of `services`. Use it from one event loop."""

    kind = "dns"

    def __init__(self, names: Names, services: Iterable[str], identities: RoomIdentities, file: StateFile) -> None:
        self._names = names
        self._services = tuple(services)
        self._identities = identities
        self._known = KnownServices(file)
        self._refused: dict[str, str] = {}
        self._answers: bool | None = None
        self._problem = ""
        self._session: aiohttp.ClientSession | None = None

    def services(self) -> Mapping[str, KnownService]:
        """All services that ever described themselves, by name; each with the name that Envoy resolves."""
        return {
            name: msgspec.structs.replace(
                known, resolved=NamedEndpoint(self._names.name_of(name), self._names.port, self._names.server)
            )
            for name, known in self._known.services().items()
        }

    def instances(self) -> list[Instance]:
        """The instances that described themselves, by name."""
        return self._known.instances()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every change of what `services` returns."""
        self._known.on_change(listener)

    def standing(self) -> Standing:
        """Which registry this is, whether it answers, and which addresses did not prove who they are."""
        return Standing(
            kind=self.kind,
            address=self._names.domain,
            answers=self._answers,
            problem=self._problem,
            refused=tuple(sorted(self._refused.values())),
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the names while the context lasts."""
        async with (
            self._known.saving(),
            aiohttp.ClientSession() as self._session,
            alongside(*(asyncio.create_task(self._follow(each), name=f"dns {each}") for each in self._services)),
        ):
            yield

    async def _follow(self, service: str) -> None:
        while True:
            pause_s = SHORTEST_S
            try:
                found = await self._names.find(service)
            except NamesAway as exc:
                if self._answers is not False:
                    _log.warning("the dns does not answer", name=self._names.name_of(service), error=str(exc))
                self._answers, self._problem = False, str(exc)
            else:
                self._answers, self._problem = True, ""
                if await self._take(service, found.addresses):
                    pause_s = min(max(found.ttl_s, SHORTEST_S), LONGEST_S)
            await asyncio.sleep(pause_s * random.uniform(0.8, 1.0))

    async def _take(self, service: str, addresses: tuple[str, ...]) -> bool:
        """False when an address has not described itself, and is to be asked again soon."""
        before = {each.address: each for each in self._known.of(service)}
        now: dict[str, Instance] = {}
        document, refused = None, {}
        for address in addresses:
            if address in before:
                now[address] = before[address]
                continue
            try:
                registration = await self._ask(service, address)
                now[address], document = registration.described(), registration.openapi
            except _NotOurs as exc:
                refused[f"{service}/{address}"] = str(exc)
        for key, reason in refused.items():
            if self._refused.get(key) != reason:
                _log.warning("an address has not proved to be of its service", service=service, reason=reason)
        self._refused = {k: v for k, v in self._refused.items() if not k.startswith(f"{service}/")} | refused
        self._known.note(service, now.values(), document)
        return not refused

    async def _ask(self, service: str, address: str) -> Registration:
        assert self._session is not None
        word = secrets.token_hex(16)
        url = f"http://{address}:{self._names.management_port}{PATH}"
        try:
            timeout = aiohttp.ClientTimeout(total=ASK_TIMEOUT_S)
            async with self._session.get(
                url, params={"word": word}, timeout=timeout, allow_redirects=False, raise_for_status=True
            ) as answer:
                body = await read_answer(answer, MAX_DESCRIPTION_BYTES)
                proof = answer.headers.get(PROOF_HEADER, "")
            token = self._identities.token_of(service.removesuffix("-service"))
            # Signed means `signature(token, word, body)`; compared in constant time.
            if not secrets.compare_digest(proof.encode(), signature(token, word, body).encode()):
                raise _NotOurs(f"{address} of {service} is not signed by its room")
            registration = msgspec.json.decode(body, type=Registration)
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError) as exc:
            raise _NotOurs(f"{address} of {service}: {str(exc) or type(exc).__name__}") from exc
        faults = [*registration.faults(), *template_faults(registration.routes)]
        if registration.service != service:
            faults.append(f"{address} says it is {registration.service}, and the name is that of {service}")
        if faults:
            raise _NotOurs("; ".join(faults))
        # Where the DNS has it, not where it thinks it is: a container listens on every interface.
        return msgspec.structs.replace(registration, address=address, port=self._names.port)
