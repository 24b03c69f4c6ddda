"""Calls to providers outside the platform, such as a payment provider, behind a circuit breaker.

What matters most about a failed call that moves money is whether it may have happened. So a failure is one of two:
`NotSent`, it certainly did not, and `OutcomeUnknown`, which only asking the provider later can settle.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import aiohttp
import msgspec
from yarl import URL

from tradewind.chassis import request_scope, trace
from tradewind.chassis.answers import read_answer
from tradewind.chassis.breaker import Breaker, Permit, State
from tradewind.chassis.circuit import Circuit
from tradewind.chassis.errors import Unavailable
from tradewind.chassis.logs import get_logger
from tradewind.chassis.metrics import Metrics

POOL_SIZE = 32
TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 2.0
MAX_ANSWER_BYTES = 4 * 1024 * 1024

log = get_logger(__name__)


class NotSent(Unavailable):
    """The provider certainly has not got the request: no connection, or the circuit is open. Safe to try again."""


class OutcomeUnknown(Unavailable):
    """The request went out and no answer came back: it may have taken effect."""


class Answer(msgspec.Struct, frozen=True):
    """What the provider answered, whatever the status: its errors are for the adapter that knows its language."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class ThirdPartyClient:
    """A bounded pool of connections to `base_url`, the provider called `name`, with its breaker."""

    def __init__(
        self,
        base_url: str,
        name: str,
        *,
        headers: Mapping[str, str] | None = None,
        pool_size: int = POOL_SIZE,
        breaker: Breaker | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """`headers` go with every call (credentials). A `breaker` given here is shared with whoever else holds it."""
        self._base = base_url.rstrip("/")
        self._name = name
        self._headers = dict(headers or {})
        self._pool_size = pool_size
        self._metrics = metrics or Metrics()
        self.circuit = Circuit(name, self._metrics, breaker)
        self._session: aiohttp.ClientSession | None = None

    @property
    def state(self) -> State:
        """The state of the circuit."""
        return self.circuit.breaker.state

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Answer:
        """Send one request, once. `path` is already quoted and may have a query; 429 and 5xx count as failures.

        Raises:
            NotSent: `provider-unavailable` or `deadline-exceeded`; the request was not sent.
            OutcomeUnknown: `provider-outcome-unknown`; it was, or may have been.
        """
        breaker = self.circuit.breaker
        permit = breaker.ask()
        if permit is None:
            raise NotSent(
                "provider-unavailable",
                f"{self._name} is failing and is left alone for now.",
                retry_after_s=breaker.retry_after_s() or 1.0,
            )
        try:
            return await self._send(permit, method, path, body, headers or {}, timeout_s)
        finally:
            # Cancelled, or a fault of our own: neither for nor against the provider.
            permit.abandoned()

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def _send(
        self,
        permit: Permit,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        timeout_s: float,
    ) -> Answer:
        left_s = request_scope.remaining_s(timeout_s)
        if left_s <= 0.0:
            raise NotSent("deadline-exceeded", f"No time was left to call {self._name}.")
        timeout = aiohttp.ClientTimeout(total=left_s, sock_connect=CONNECT_TIMEOUT_S)
        attributes = {"http.request.method": method, "server.address": self._name}
        with trace.span(f"{method} {self._name}", kind="client", attributes=attributes) as span:
            started_s = time.perf_counter()
            status = 0
            try:
                async with self._open().request(
                    method,
                    URL(self._base + path, encoded=True),
                    data=body,
                    headers=headers,
                    allow_redirects=False,
                    timeout=timeout,
                ) as reply:
                    raw = await read_answer(reply, MAX_ANSWER_BYTES)
                    status = reply.status
            except (aiohttp.ClientError, TimeoutError, OSError) as exc:
                permit.failed()
                raise self._failure(exc) from exc
            finally:
                self._metrics.call(self._name, method).observe(status, time.perf_counter() - started_s)
            span.set("http.response.status_code", status)
            if status >= 500 or status == 429:
                permit.failed()
            else:
                permit.succeeded()
            return Answer(status, {name.lower(): value for name, value in reply.headers.items()}, raw)

    def _failure(self, exc: Exception) -> Unavailable:
        log.warning("a provider did not answer", target=self._name, error=str(exc) or type(exc).__name__)
        if isinstance(exc, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
            return NotSent("provider-unavailable", f"{self._name} cannot be reached.", retry_after_s=1.0)
        return OutcomeUnknown("provider-outcome-unknown", f"{self._name} did not answer in time.")

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._pool_size),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=self._headers,
            )
        return self._session
