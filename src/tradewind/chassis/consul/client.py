"""Requests to one Consul agent, and blocking queries by the rules of Consul's documentation ("Blocking Queries").

aiohttp on the HTTP API and not py-consul: seven paths are used, aiohttp is here already, and index handling, waiting and
backing off are ours in either case.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import aiohttp

from tradewind.chassis.answers import read_answer
from tradewind.chassis.consul.address import ConsulAddress
from tradewind.chassis.logs import get_logger

REQUEST_TIMEOUT_S = 5.0
WAIT_S = 20.0
"""How long a blocking query may hang. Consul adds up to a sixteenth of it, so that not all wake at once."""
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
BETWEEN_ANSWERS_S = 0.01
"""A key that changes without end must not keep us busy without end."""
MAX_ANSWER_BYTES = 4 * 1024 * 1024
MAX_CONNECTIONS = 256

_NOT_FOUND = 404
_SAID_CHARACTERS = 300

_log = get_logger(__name__)


class ConsulProblem(Exception):
    """Consul could not do what it was asked."""


class ConsulAway(ConsulProblem):
    """No answer, or one without meaning: no leader, a broken connection, a time-out."""


class ConsulRefused(ConsulProblem):
    """Consul answered, and refuses: a wrong token, a name it does not know."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"{status}: {said}")
        self.status = status


@dataclass(frozen=True)
class Seen:
    """One answer of a query. `found` is False for 404.

    `continuous`: every state since the previous answer was seen, so that what is missing is gone. After an absence of the
    agent, or an index that went backwards (a restored or new agent), what is missing may only not be back yet.
    """

    body: bytes
    index: int
    found: bool = True
    continuous: bool = False


class Consul:
    """A client of one agent. `answers` tells whether its last request was answered; None before the first."""

    def __init__(self, address: ConsulAddress) -> None:
        self.address = address
        self.answers: bool | None = None
        self.problem = ""
        self._tls = address.tls()
        self._session: aiohttp.ClientSession | None = None

    async def get(self, path: str, params: Mapping[str, str] | None = None, *, wait_s: float = 0.0) -> Seen:
        """GET `path`. `wait_s` is how long the query may hang.

        Raises:
            ConsulAway, ConsulRefused
        """
        return await self._request("GET", path, params or {}, None, REQUEST_TIMEOUT_S + wait_s * 17 / 16)

    async def put(self, path: str, body: bytes = b"", params: Mapping[str, str] | None = None) -> bytes:
        """PUT `body` to `path`, and return the answer.

        Raises:
            ConsulAway, ConsulRefused
        """
        seen = await self._request("PUT", path, params or {}, body, REQUEST_TIMEOUT_S)
        if not seen.found:
            raise ConsulRefused(_NOT_FOUND, seen.body[:_SAID_CHARACTERS].decode(errors="replace"))
        return seen.body

    async def delete(self, path: str) -> None:
        """DELETE `path`; it need not be there.

        Raises:
            ConsulAway, ConsulRefused
        """
        await self._request("DELETE", path, {}, None, REQUEST_TIMEOUT_S)

    async def watch(self, path: str, params: Mapping[str, str] | None = None) -> AsyncIterator[Seen]:
        """What `path` holds, now and after each change; without end, whatever happens to the agent.

        The index starts anew when it goes backwards and is never below 1 after an answer (below 1 the query would not
        block), an answer with the same index is no change, and errors are met with a growing, jittered pause.
        """
        index, continuous, pause_s = 0, False, FIRST_PAUSE_S
        while True:
            asked = {**(params or {}), **({"index": str(index), "wait": f"{WAIT_S:.0f}s"} if index else {})}
            try:
                seen = await self.get(path, asked, wait_s=WAIT_S if index else 0.0)
            except ConsulProblem as exc:
                if pause_s == FIRST_PAUSE_S:
                    _log.warning("consul does not answer a query", path=path, error=str(exc))
                index, continuous = 0, False
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
                continue
            pause_s = FIRST_PAUSE_S
            if seen.index < index:
                _log.info("consul's index went backwards", path=path, was=index, now=seen.index)
                index, continuous = 0, False
                await asyncio.sleep(BETWEEN_ANSWERS_S)
                continue
            if seen.index > index or not continuous:
                yield Seen(seen.body, seen.index, seen.found, continuous)
            index, continuous = max(seen.index, 1), True
            await asyncio.sleep(BETWEEN_ANSWERS_S)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _request(
        self, method: str, path: str, params: Mapping[str, str], body: bytes | None, timeout_s: float
    ) -> Seen:
        session = self._opened()
        try:
            async with session.request(
                method,
                self.address.base_url + path,
                params=params,
                data=body,
                timeout=aiohttp.ClientTimeout(total=timeout_s),
                allow_redirects=False,
            ) as answer:
                content = await read_answer(answer, MAX_ANSWER_BYTES)
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            self.answers, self.problem = False, str(exc) or type(exc).__name__
            raise ConsulAway(f"{method} {path}: {self.problem}") from exc
        said = content[:_SAID_CHARACTERS].decode(errors="replace").strip()
        if answer.status >= 500:
            # The agent lives, but has no leader; or, in older versions, a check is not known.
            self.answers, self.problem = False, f"{answer.status}: {said}"
            raise ConsulRefused(answer.status, said)
        self.answers, self.problem = True, ""
        if answer.status not in (200, _NOT_FOUND):
            self.problem = f"{answer.status}: {said}"
            raise ConsulRefused(answer.status, said)
        index = answer.headers.get("x-consul-index", "")
        return Seen(content, int(index) if index.isdigit() else 0, answer.status != _NOT_FOUND)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            token = self.address.token
            self._session = aiohttp.ClientSession(
                headers={"x-consul-token": token.reveal()} if token else {},
                connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, ssl=self._tls if self._tls is not None else True),
            )
        return self._session
