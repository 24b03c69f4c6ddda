"""A till: payment-service's real doors on a real PostgreSQL, and the real sandbox provider behind it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from starlette.types import ASGIApp

from tests.asgi import Response, call
from tests.conftest import RoomDatabase
from tests.received import received
from tests.sandbox_process import API_KEY, WEBHOOK_SECRET, Sandbox
from tradewind.chassis.alongside import alongside
from tradewind.chassis.errors import Unauthenticated
from tradewind.chassis.foundation import Foundation, open_foundation
from tradewind.chassis.http.app import Doorman, build_asgi
from tradewind.chassis.identity import Caller
from tradewind.chassis.ids import new_id
from tradewind.chassis.postgres import Database
from tradewind.chassis.settings import Secret
from tradewind.contracts.money import Money
from tradewind.contracts.order import CancelReason, OrderCancelled, OrderPlaced
from tradewind.services.payment.api import api
from tradewind.services.payment.app import at_work
from tradewind.services.payment.consumer import handlers
from tradewind.services.payment.jobs import jobs
from tradewind.services.payment.parts import Parts
from tradewind.services.payment.providers import Provider
from tradewind.services.payment.providers.opening import open_provider
from tradewind.services.payment.settings import PaymentSettings
from tradewind.stack.provision import RoomAccess

CONCURRENCY = 16
MODES = ("automatic", "manual")
"""Of taking money: what both have in common is tested in both."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """An order as order-service would place it."""

    id: str
    payment_id: str
    customer_id: str
    total: Money
    payment_method: str

    @property
    def placed(self) -> OrderPlaced:
        return OrderPlaced(
            order_id=self.id,
            number="T-1",
            customer_id=self.customer_id,
            payment_id=self.payment_id,
            payment_method=self.payment_method,
            total=self.total,
            lines=[],
        )

    def cancelled(self, reason: CancelReason = "customer") -> OrderCancelled:
        return OrderCancelled(
            order_id=self.id,
            number="T-1",
            customer_id=self.customer_id,
            payment_id=self.payment_id,
            total=self.total,
            reason=reason,
            was="pending",
        )


def new_order(method: str = "pm_card_visa", amount_minor: int = 1999, *, customer_id: str | None = None) -> Order:
    """An order of somebody's."""
    return Order(
        id=new_id(),
        payment_id=new_id(),
        customer_id=customer_id or new_id(),
        total=Money(amount_minor, "EUR"),
        payment_method=method,
    )


class Doorkeeper:
    """Knows everybody who was introduced."""

    def __init__(self) -> None:
        self.known: dict[str, Caller] = {}

    def introduce(self, *roles: str, subject: str | None = None) -> Caller:
        """Somebody with these roles beside `customer`."""
        subject = subject or new_id()
        caller = Caller(
            subject=subject,
            email=f"{subject}@example.test",
            name="Somebody",
            roles=frozenset({"customer", *roles}),
            session_id=new_id(),
            token=f"token-{new_id()}",
        )
        self.known[caller.token] = caller
        return caller

    async def verify(self, token: str) -> Caller:
        if token not in self.known:
            raise Unauthenticated("token-invalid", "Who is this?")
        return self.known[token]


class Till:
    """What tests do with the service."""

    def __init__(self, app: ASGIApp, parts: Parts, sandbox: Sandbox, door: Doorkeeper, access: RoomAccess) -> None:
        self.app = app
        self.parts = parts
        self.sandbox = sandbox
        self.access = access
        self.database: Database = parts.database
        self.introduce = door.introduce
        self.support = door.introduce("support")
        self.finance = door.introduce("finance")

    async def ask(
        self, method: str, path: str, json: Any = None, *, by: Caller | None = None, key: str | None = None
    ) -> Response:
        """One request."""
        headers = {} if by is None else {"authorization": f"Bearer {by.token}"}
        if key is not None:
            headers["idempotency-key"] = key
        return await call(self.app, method, path, json=json, headers=headers)

    async def post(self, path: str, json: Any = None, *, by: Caller, key: str | None = None) -> Response:
        """A POST with an idempotency key, a new one unless given."""
        return await self.ask("POST", path, json, by=by, key=key or new_id())

    async def place(self, *orders: Order) -> None:
        """The bus brings orders, in one transaction, as the consumer does it."""
        async with self.database.transaction() as tx:
            await handlers.apply(self.parts, tx, [received(order.placed, subject=order.id) for order in orders])

    async def cancel(self, *orders: Order) -> None:
        """The bus brings word that they are cancelled."""
        async with self.database.transaction() as tx:
            cancelled = [received(order.cancelled(), subject=order.id, version=2) for order in orders]
            await handlers.apply(self.parts, tx, cancelled)

    async def pay(self, order: Order | None = None) -> Order:
        """An order whose money is captured."""
        order = order or new_order()
        await self.place(order)
        await self.until(order, "captured")
        return order

    async def refund(self, order: Order, amount_minor: int | None = None, *, key: str | None = None) -> Response:
        """Ask for a refund."""
        body: dict[str, Any] = {"reason": "broken"}
        if amount_minor is not None:
            body["amount"] = {"amount_minor": amount_minor, "currency": order.total.currency}
        return await self.post(f"/v1/payments/{order.payment_id}/refunds", body, by=self.support, key=key)

    async def see(self, order: Order) -> dict[str, Any]:
        """The payment as the API shows it."""
        answer = await self.ask("GET", f"/v1/payments/{order.payment_id}", by=self.support)
        assert answer.status == 200, answer.json
        return dict(answer.json)

    async def until(self, order: Order, *statuses: str, timeout_s: float = 20.0) -> dict[str, Any]:
        """Wait for one of the statuses."""

        async def reached() -> dict[str, Any] | None:
            seen = await self.see(order)
            return seen if seen["status"] in statuses else None

        return await eventually(reached, timeout_s)

    async def charges(self, order: Order) -> list[dict[str, Any]]:
        """What the provider says it charged for an order."""
        return await self.sandbox.charges(reference=order.id)

    async def taken_minor(self, order: Order) -> int:
        """What the provider still has of the customer's money."""
        return sum(
            charge["amount_captured_minor"] - charge["amount_refunded_minor"] for charge in await self.charges(order)
        )

    async def told(self, order: Order) -> list[str]:
        """The types of the payment's events, after a look at their versions: 1, 2, 3, ..."""
        rows = await self.database.rows("SELECT type, version FROM outbox WHERE key = $1 ORDER BY id", order.payment_id)
        assert [row["version"] for row in rows] == list(range(1, len(rows) + 1))
        return [str(row["type"]).removeprefix("payment.").removesuffix(".v1") for row in rows]

    def story(self, *types: str) -> list[str]:
        """What `told` says of these events here: where money is held first, a capture is told after its authorization."""
        if self.parts.capture_at_once:
            return list(types)
        return [each for type_ in types for each in (("authorized", "captured") if type_ == "captured" else (type_,))]

    async def until_nothing_is_held(self, order: Order, timeout_s: float = 20.0) -> None:
        """Wait until the provider has let go of what it held for an order, and see that it never took anything."""

        async def let_go() -> bool:
            return [charge["status"] for charge in await self.charges(order)] == ["cancelled"]

        await self.until(order, "cancelled", timeout_s=timeout_s)
        await eventually(let_go, timeout_s)
        assert await self.told(order) == ["cancelled"]
        assert await self.booked(order) == []

    async def booked(self, order: Order) -> list[tuple[str, int]]:
        """(cause, amount) of the payment's ledger transactions."""
        sql = "SELECT cause, amount_minor FROM ledger_transaction WHERE payment_id = $1 ORDER BY id"
        return [(row["cause"], row["amount_minor"]) for row in await self.database.rows(sql, order.payment_id)]

    async def charger_off(self) -> None:
        """New work is only written down."""
        await self.parts.charger.close()

    async def due_now(self) -> None:
        """All that waits is to be taken up now."""
        await self.database.execute("UPDATE attempt SET due_at = now() WHERE due_at IS NOT NULL")

    async def weather(self, **control: Any) -> None:
        """Make the provider slow, silent, or away."""
        answer = await self.sandbox.call("POST", "/v1/_control", control)
        assert answer.status == 200, answer.body

    async def approve(self, order: Order, decision: str = "approve") -> None:
        """The customer does at the provider's page what they are asked to."""
        seen = await self.until(order, "requires_action")
        path = seen["next_action"]["url"].removeprefix(self.sandbox.url)
        answer = await self.sandbox.call("POST", path, f"decision={decision}".encode(), api_key=None)
        assert answer.status == 200, answer.body

    async def check_books(self) -> None:
        """What must be true of all payments at any time when nothing is under way."""
        unbalanced = await self.database.rows(
            "SELECT transaction_id FROM ledger_entry GROUP BY transaction_id, currency HAVING sum(amount_minor) <> 0"
        )
        assert unbalanced == []
        wrong = await self.database.rows("""
            SELECT p.id FROM payment AS p LEFT JOIN ledger_transaction AS t ON t.payment_id = p.id
            GROUP BY p.id
            HAVING p.captured_minor <> coalesce(sum(t.amount_minor) FILTER (WHERE t.cause = 'capture'), 0)
                OR p.refunded_minor <> coalesce(sum(t.amount_minor) FILTER (WHERE t.cause = 'refund'), 0)
                OR p.refunding_minor <> 0
        """)
        assert wrong == []
        answer = await self.ask("GET", "/v1/payments/reconciliation", by=self.finance)
        for standing in answer.json["standings"]:
            assert standing["ours_minor"] == standing["theirs_minor"]


async def eventually(look: Callable[[], Awaitable[Any]], timeout_s: float = 20.0) -> Any:
    """Look every 20 ms until there is something to see. Raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while not (seen := await look()):
            await asyncio.sleep(0.02)
        return seen


def settings_for(access: RoomAccess, sandbox: Sandbox, **more: Any) -> PaymentSettings:
    """Settings of a service on these two."""
    return PaymentSettings(
        environment="dev",
        instance=more.pop("instance", "payment-1"),
        database_url=Secret(access.url),
        sandbox_url=sandbox.url,
        sandbox_api_key=Secret(API_KEY),
        sandbox_webhook_secret=Secret(WEBHOOK_SECRET),
        **more,
    )


@contextlib.asynccontextmanager
async def open_till(
    access: RoomAccess,
    sandbox: Sandbox,
    *,
    working: bool = True,
    wrap: Callable[[Provider], Provider] = lambda provider: provider,
    **more: Any,
) -> AsyncIterator[Till]:
    """A till over a database and a provider. `working=False`: its jobs are not running, the test runs them itself."""
    settings = settings_for(access, sandbox, provider_concurrency=CONCURRENCY, **more)
    async with opened(settings, working=working, wrap=wrap) as (app, parts, door):
        yield Till(app, parts, sandbox, door, access)


@contextlib.asynccontextmanager
async def opened(
    settings: PaymentSettings, *, working: bool = True, wrap: Callable[[Provider], Provider] = lambda provider: provider
) -> AsyncIterator[tuple[ASGIApp, Parts, Doorkeeper]]:
    """The service's door and its parts, at work with the provider of the settings."""
    async with open_foundation("payment", settings) as foundation, _provider(settings, foundation) as provider:
        at_once = settings.capture == "automatic"
        async with at_work(foundation, wrap(provider), concurrency=CONCURRENCY, capture_at_once=at_once) as parts:
            door = Doorkeeper()
            app = build_asgi(api, parts, Doorman(door, foundation.database, foundation.metrics))
            async with _running(parts if working else None):
                yield app, parts, door


@contextlib.asynccontextmanager
async def _provider(settings: PaymentSettings, foundation: Foundation) -> AsyncIterator[Provider]:
    provider = open_provider(settings, foundation.metrics)
    try:
        yield provider
    finally:
        await provider.close()


@contextlib.asynccontextmanager
async def _running(parts: Parts | None) -> AsyncIterator[None]:
    async with alongside(*(asyncio.create_task(job.loop(parts)) for job in (jobs(parts) if parts else ()))):
        yield


@contextlib.asynccontextmanager
async def provider_and_database(
    room_database: RoomDatabase, folder: Path, **weather: str
) -> AsyncIterator[tuple[RoomAccess, Sandbox]]:
    """A migrated database, and a started sandbox."""
    access = await room_database("payment")
    sandbox = Sandbox(folder / "psp", **weather)
    try:
        await sandbox.start()
        yield access, sandbox
    finally:
        await sandbox.close()
