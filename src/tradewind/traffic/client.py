"""The public API as a customer's program sees it. Knows nothing of the services behind the edge."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import aiohttp
import msgspec

from tradewind.chassis.ids import new_id

TIMEOUT_S = 30.0
POLL_S = 0.02
SETTLED = frozenset({"confirmed", "cancelled", "shipped", "delivered"})


class Refused(Exception):
    """The platform answered with a problem."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(f"{status} {problem.get('code', '')}: {problem.get('detail', '')}")
        self.status = status
        self.code = str(problem.get("code", ""))
        self.problem = problem


class Answer(msgspec.Struct, frozen=True):
    """A success: its status, its headers in lower case, its JSON body (None without one)."""

    status: int
    headers: dict[str, str]
    body: Any


class Shopper(msgspec.Struct, frozen=True):
    """A registered customer with a valid access token."""

    id: str
    email: str
    token: str


class Shop:
    """A client of one platform. Use `open_shop`."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str) -> None:
        self._session = session
        self._base_url = base_url.rstrip("/")

    async def call(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        body: Any = None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request. `key` becomes `Idempotency-Key`.

        Raises:
            Refused: the answer is a problem.
            aiohttp.ClientError, TimeoutError: there was no answer.
        """
        sent = dict(headers or {})
        if token:
            sent["authorization"] = f"Bearer {token}"
        if key:
            sent["idempotency-key"] = key
        data = None
        if body is not None:
            data = msgspec.json.encode(body)
            sent["content-type"] = "application/json"
        async with self._session.request(method, self._base_url + path, data=data, headers=sent) as response:
            raw = await response.read()
            decoded = _decode(raw)
            if response.status >= 400:
                raise Refused(response.status, decoded if isinstance(decoded, dict) else {"detail": raw[:200].decode()})
            return Answer(response.status, {k.lower(): v for k, v in response.headers.items()}, decoded)

    async def register(self, email: str, password: str, name: str) -> Shopper:
        """A new customer."""
        body = {"email": email, "password": password, "name": name}
        answer = await self.call("POST", "/v1/auth/register", body=body)
        return Shopper(answer.body["user"]["id"], email, answer.body["access_token"])

    async def create_product(self, admin: str, sku: str, name: str, amount_minor: int, stock: int) -> Any:
        """A new product in euros; `admin` is an administrator's access token."""
        price = {"amount_minor": amount_minor, "currency": "EUR"}
        body = {"sku": sku, "name": name, "price": price, "stock": stock}
        return (await self.call("POST", "/v1/products", token=admin, body=body)).body

    async def place_order(
        self, shopper: Shopper, lines: Sequence[tuple[str, int]], payment_method: str, *, key: str | None = None
    ) -> Any:
        """Order (sku, quantity) pairs, to a fixed address."""
        body = {
            "lines": [{"sku": sku, "quantity": quantity} for sku, quantity in lines],
            "payment_method": payment_method,
            "shipping_address": ADDRESS,
        }
        return (await self.call("POST", "/v1/orders", token=shopper.token, body=body, key=key or new_id())).body

    async def order(self, token: str, order_id: str) -> Any:
        """An order as it is now."""
        return (await self.call("GET", f"/v1/orders/{order_id}", token=token)).body

    async def settled(self, token: str, order_id: str, *, timeout_s: float = TIMEOUT_S) -> Any:
        """The order once it is no longer pending; raises TimeoutError after `timeout_s`."""
        async with asyncio.timeout(timeout_s):
            while (order := await self.order(token, order_id))["status"] not in SETTLED:
                await asyncio.sleep(POLL_S)
            return order

    async def until(self, token: str, path: str, satisfied: Any, *, timeout_s: float = TIMEOUT_S) -> Any:
        """GET `path` until `satisfied(body)`; raises TimeoutError after `timeout_s`."""
        async with asyncio.timeout(timeout_s):
            while not satisfied(body := (await self.call("GET", path, token=token)).body):
                await asyncio.sleep(POLL_S)
            return body

    async def refund(self, token: str, order_id: str, reason: str, amount: Mapping[str, Any] | None = None) -> Any:
        """Refund an order, in full unless `amount` is given; needs the role support or finance."""
        body = {"reason": reason, **({"amount": amount} if amount else {})}
        return (await self.call("POST", f"/v1/orders/{order_id}/refunds", token=token, body=body, key=new_id())).body


ADDRESS = {
    "name": "Ada Lovelace",
    "line1": "12 St James's Square",
    "city": "London",
    "postal_code": "SW1Y 4JH",
    "country": "GB",
}


@contextlib.asynccontextmanager
async def open_shop(base_url: str, *, connections: int = 100) -> AsyncIterator[Shop]:
    """A client for the platform at `base_url`, with at most `connections` kept open."""
    connector = aiohttp.TCPConnector(limit=connections, keepalive_timeout=30)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=True) as session:
        yield Shop(session, base_url)


def _decode(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw) if raw else None
    except msgspec.DecodeError:
        return raw.decode(errors="replace")
