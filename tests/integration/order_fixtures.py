"""A shop: order-service's real HTTP door and bus door on a real PostgreSQL, and the people who come to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest_asyncio
from aiohttp import web
from starlette.types import ASGIApp

from tests.asgi import Response, call
from tests.conftest import RoomDatabase
from tests.received import received
from tradewind.chassis.cache import Cache
from tradewind.chassis.client import MeshClient
from tradewind.chassis.clock import ManualClock
from tradewind.chassis.errors import Unauthenticated
from tradewind.chassis.events import Event
from tradewind.chassis.http.app import Doorman, build_asgi
from tradewind.chassis.identity import Caller
from tradewind.chassis.ids import new_id
from tradewind.chassis.live import Live
from tradewind.chassis.metrics import Metrics
from tradewind.chassis.outbox import Outbox
from tradewind.chassis.postgres import Database
from tradewind.chassis.settings import Secret
from tradewind.contracts.money import Money
from tradewind.contracts.payment import PaymentCaptured, PaymentFailed, PaymentRefunded
from tradewind.services.order.api import api
from tradewind.services.order.clients import Addresses
from tradewind.services.order.consumer import handlers
from tradewind.services.order.following import Following
from tradewind.services.order.measures import Measures
from tradewind.services.order.parts import Parts
from tradewind.services.order.settings import OrderSettings

ADDRESS = {"name": "Ada", "line1": "1 Main St", "city": "Bath", "postal_code": "BA1 1AA", "country": "GB"}


def person(*roles: str) -> Caller:
    """Somebody new, with these roles beside `customer`."""
    subject = new_id()
    return Caller(
        subject=subject,
        email=f"{subject}@example.test",
        name="Somebody",
        roles=frozenset({"customer", *roles}),
        session_id=new_id(),
        token=f"token-{subject}",
    )


class Doorkeeper:
    """Knows everybody who was introduced."""

    def __init__(self) -> None:
        self.known: dict[str, Caller] = {}

    def introduce(self, *roles: str) -> Caller:
        caller = person(*roles)
        self.known[caller.token] = caller
        return caller

    async def verify(self, token: str) -> Caller:
        if token not in self.known:
            raise Unauthenticated("token-invalid", "Who is this?")
        return self.known[token]


class Shop:
    """What tests do with the service."""

    def __init__(self, app: ASGIApp, parts: Parts, clock: ManualClock, door: Doorkeeper) -> None:
        self.app = app
        self.parts = parts
        self.clock = clock
        self.database = parts.database
        self.introduce = door.introduce
        self.admin = door.introduce("admin")
        self.support = door.introduce("support")
        self.customer = door.introduce()

    async def ask(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        by: Caller | None = None,
        body: bytes | None = None,
        **headers: str,
    ) -> Response:
        """One request; `if_match="..."` becomes the header If-Match."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if by is not None:
            sent["authorization"] = f"Bearer {by.token}"
        return await call(self.app, method, path, json=json, body=body, headers=sent)

    async def post(self, path: str, json: Any = None, *, by: Caller | None = None, key: str | None = None) -> Response:
        """A POST with an idempotency key, a new one unless given."""
        return await self.ask("POST", path, json, by=by, idempotency_key=key or new_id())

    async def stock(self, sku: str, pieces: int = 100, price: int = 1_000, currency: str = "EUR") -> None:
        """Put a product into the catalogue."""
        body = {
            "sku": sku,
            "name": sku.title(),
            "price": {"amount_minor": price, "currency": currency},
            "stock": pieces,
        }
        answer = await self.ask("POST", "/v1/products", body, by=self.admin)
        assert answer.status == 201, answer.json

    async def left(self, sku: str) -> int:
        """How many can be ordered, as the API says."""
        return int((await self.ask("GET", f"/v1/products/{sku}")).json["stock"])

    async def try_order(self, *lines: tuple[str, int], by: Caller | None = None, key: str | None = None) -> Response:
        """Place an order, whatever comes of it."""
        return await self.post("/v1/orders", order_body(*lines), by=by or self.customer, key=key)

    async def order(self, *lines: tuple[str, int], by: Caller | None = None) -> dict[str, Any]:
        """Place an order."""
        answer = await self.try_order(*lines, by=by)
        assert answer.status == 201, answer.json
        return dict(answer.json)

    async def see(self, order: dict[str, Any]) -> dict[str, Any]:
        """The order as it is now."""
        answer = await self.ask("GET", f"/v1/orders/{order['id']}", by=self.support)
        assert answer.status == 200, answer.json
        return dict(answer.json)

    async def story(self, order: dict[str, Any]) -> list[tuple[str, str]]:
        """(event, cause) of the timeline."""
        answer = await self.ask("GET", f"/v1/orders/{order['id']}/timeline", by=self.support)
        return [(entry["event"], entry["cause"]) for entry in answer.json["items"]]

    async def hear(self, *events: Event) -> None:
        """The bus brings events, in one transaction as the consumer does it."""
        async with self.database.transaction() as tx:
            await handlers.apply(
                self.parts,
                tx,
                [received(event, subject=event.payment_id) for event in events],  # type: ignore[attr-defined]
            )

    async def pay(self, *orders: dict[str, Any]) -> None:
        """The money of these orders is captured."""
        await self.hear(*(captured(order) for order in orders))

    async def wait(self, seconds: float) -> None:
        """Let deadlines come nearer. They go by the database's clock, so it is they that move."""
        await self.database.execute(
            """
            UPDATE orders SET deadline_at = deadline_at - make_interval(secs => $1), look_at = look_at - make_interval(secs => $1)
            """,
            seconds,
        )

    async def emitted(self, order: dict[str, Any]) -> list[tuple[str, int]]:
        """(type, version) of the events about an order, in the order they will be published."""
        rows = await self.database.rows("SELECT type, version FROM outbox WHERE key = $1 ORDER BY id", order["id"])
        return [(row["type"], row["version"]) for row in rows]

    async def check_books(self) -> None:
        """The invariants I5, I6 and I11, from the tables alone."""
        wrong = await self.database.rows("""
            SELECT sku, available, reserved, sold, s.*
            FROM stock JOIN (
                SELECT sku,
                       sum(quantity) FILTER (WHERE kind IN ('initial', 'delta')) AS came,
                       coalesce(sum(quantity) FILTER (WHERE kind = 'reserve'), 0) AS reserve,
                       coalesce(sum(quantity) FILTER (WHERE kind = 'release'), 0) AS release,
                       coalesce(sum(quantity) FILTER (WHERE kind = 'sell'), 0) AS sell,
                       coalesce(sum(quantity) FILTER (WHERE kind = 'return'), 0) AS return
                FROM stock_movement GROUP BY sku
            ) AS s USING (sku)
            WHERE came <> available + reserved + sold
               OR reserved <> reserve - release - sell OR sold <> sell - return OR least(available, reserved, sold) < 0
        """)
        assert wrong == []
        held = await self.database.rows("""
            SELECT o.id, o.status, sum(CASE m.kind WHEN 'reserve' THEN m.quantity WHEN 'sell' THEN 0 ELSE -m.quantity END) AS held
            FROM orders AS o JOIN stock_movement AS m ON m.order_id = o.id
            GROUP BY o.id, o.status
        """)
        wanted = {
            order.id: 0 if order.status == "cancelled" else sum(line.quantity for line in order.lines)
            for order in await _all_orders(self.database)
        }
        assert {str(row["id"]): row["held"] for row in held} == wanted
        gaps = await self.database.rows("""
            SELECT key FROM outbox GROUP BY key
            HAVING array_agg(version::int ORDER BY id) <> (
                SELECT array_agg(n) FROM generate_series(1, (SELECT event_version FROM orders WHERE id = key::uuid)) AS n
            )
        """)
        assert gaps == []


async def _all_orders(database: Database) -> list[Any]:
    from tradewind.services.order.store import orders

    return await orders.list_orders(database, customer_id=None, status=None, before=None, limit=10_000)


def order_body(*lines: tuple[str, int], **changes: Any) -> dict[str, Any]:
    """The body of a new order."""
    wanted = [{"sku": sku, "quantity": quantity} for sku, quantity in lines]
    return {"lines": wanted, "payment_method": "pm_card_visa", "shipping_address": ADDRESS, **changes}


def spoken_of(order: dict[str, Any]) -> dict[str, Any]:
    """What every event says of an order's payment."""
    return {
        "payment_id": order["payment"]["id"],
        "order_id": order["id"],
        "customer_id": order["customer_id"],
        "amount": msgspec.convert(order["total"], Money),
    }


def captured(order: dict[str, Any]) -> PaymentCaptured:
    """The order's money is ours."""
    return PaymentCaptured(**spoken_of(order))


def failed(order: dict[str, Any], code: str = "card_declined") -> PaymentFailed:
    """The order's money will not come."""
    return PaymentFailed(**spoken_of(order), code=code)


def refunded(order: dict[str, Any], amount: int, total: int, *, by: str | None = None) -> PaymentRefunded:
    """`amount` was given back, `total` so far."""
    spoken = spoken_of(order)
    whole: Money = spoken["amount"]
    return PaymentRefunded(
        **{**spoken, "amount": Money(amount, whole.currency)},
        refund_id=new_id(), refunded=Money(total, whole.currency), captured=whole, reason="requested", requested_by=by,
    )  # fmt: skip


class Neighbour:
    """user-service as this room sees it: an HTTP server that shows an owner's addresses to the owner."""

    def __init__(self) -> None:
        self.addresses: dict[tuple[str, str], dict[str, Any]] = {}
        self.asked = 0
        self.away = False
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        if self.away:
            return web.Response(status=503)
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        found = self.addresses.get((token, request.match_info["id"]))
        if request.headers["host"] != "user-service" or found is None:
            problem = {"code": "not-found", "status": 404, "detail": "There is no such address."}
            return web.json_response(problem, status=404, content_type="application/problem+json")
        return web.json_response(found)


@asynccontextmanager
async def open_shop(url: str, mesh_url: str, *, valkey_url: str | None = None) -> AsyncIterator[Shop]:
    """One instance of the service."""
    database = await Database.open(url, max_size=8)
    metrics = Metrics()
    clock = ManualClock(datetime.now(UTC))
    mesh = MeshClient(mesh_url, "order-service", metrics=Metrics())
    cache = await Cache.open(valkey_url, "order", metrics=Metrics())
    parts = Parts(
        clock=clock,
        database=database,
        outbox=Outbox("order-service", clock=clock),
        cache=cache,
        addresses=Addresses(mesh),
        measures=Measures(metrics),
        following=Following(database, asyncio.Event(), look_every_s=0.05, most=30),
        live=Live(OrderSettings(database_url=Secret(url), expiry_batch=3)),
    )
    door = Doorkeeper()
    try:
        yield Shop(build_asgi(api, parts, Doorman(door, database, Metrics())), parts, clock, door)
    finally:
        await parts.following.close()
        await cache.close()
        await mesh.close()
        await database.close()


@pytest_asyncio.fixture
async def neighbour() -> AsyncIterator[Neighbour]:
    made = Neighbour()
    app = web.Application()
    app.router.add_get("/v1/users/me/addresses/{id}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@pytest_asyncio.fixture
async def shop(room_database: RoomDatabase, neighbour: Neighbour) -> AsyncIterator[Shop]:
    access = await room_database("order")
    async with open_shop(access.url, neighbour.url) as opened:
        yield opened
