"""A platform in one process: every room with its doors, relay, consumer and jobs as in production, on a real PostgreSQL and the
real sandbox provider, and a history made through it. Its databases are then at rest, and copied for whoever spoils one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink
from msgspec.structs import replace
from starlette.types import ASGIApp

from tests.asgi import Response, call
from tests.conftest import ROOMS as ROOM_FOLDERS
from tests.integration.payment_fixtures import Doorkeeper, eventually
from tests.integration.served_room import Keys
from tests.sandbox_process import API_KEY, WEBHOOK_SECRET, Sandbox
from tradewind.audit.invariants import Limits, Report
from tradewind.audit.provider import SandboxCharges
from tradewind.audit.run import audit
from tradewind.audit.sources import Charge, Sources
from tradewind.chassis.alongside import alongside
from tradewind.chassis.clock import SystemClock
from tradewind.chassis.deadletters import OPEN, DeadLetters
from tradewind.chassis.events import Envelope, encode
from tradewind.chassis.foundation import Foundation, open_foundation
from tradewind.chassis.http.app import Doorman, build_asgi
from tradewind.chassis.identity import Caller
from tradewind.chassis.ids import new_id
from tradewind.chassis.lifecycle import _background
from tradewind.chassis.migrations import migrate
from tradewind.chassis.service import Service
from tradewind.chassis.settings import load
from tradewind.chassis.transport import Message, open_transport
from tradewind.chassis.transport.postgres.schema import ensure_schema
from tradewind.contracts.money import Money
from tradewind.contracts.user import UserProfileChanged
from tradewind.services.analytics.app import create_app as create_analytics
from tradewind.services.analytics.settings import AnalyticsSettings
from tradewind.services.auth.app import create_app as create_auth
from tradewind.services.auth.settings import AuthSettings
from tradewind.services.notification.app import create_app as create_notification
from tradewind.services.notification.settings import NotificationSettings
from tradewind.services.order.app import create_app as create_order
from tradewind.services.order.settings import OrderSettings
from tradewind.services.payment.app import at_work
from tradewind.services.payment.app import create_app as create_payment
from tradewind.services.payment.domain.charge import Charge as ProviderCharge
from tradewind.services.payment.domain.work import ChargeWork
from tradewind.services.payment.parts import Parts as PaymentParts
from tradewind.services.payment.providers import Provider
from tradewind.services.payment.providers.opening import open_provider
from tradewind.services.payment.settings import PaymentSettings
from tradewind.services.payment.usecases import seal_ledger
from tradewind.services.user.app import create_app as create_user
from tradewind.services.user.settings import UserSettings
from tradewind.stack import provision
from tradewind.stack.ports import free_port

ROOMS: Mapping[str, tuple[Callable[[Any], Service[Any]], type[Any]]] = {
    "auth": (create_auth, AuthSettings),
    "user": (create_user, UserSettings),
    "order": (create_order, OrderSettings),
    "payment": (create_payment, PaymentSettings),
    "notification": (create_notification, NotificationSettings),
    "analytics": (create_analytics, AnalyticsSettings),
}
BUS = "bus"
MISQUOTED_MINOR = 4_711
"""An order of this total is charged one cent less than was asked for."""

ADMINISTRATOR = {"email": "admin@example.test", "password": "correct horse battery"}
ADDRESS = {"name": "Ada", "line1": "1 Main St", "city": "Bath", "postal_code": "BA1 1AA", "country": "GB"}


class Misquoting:
    """The real provider, with a wrong charge for orders of one total."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def __getattr__(self, name: str) -> object:
        return getattr(self._provider, name)

    async def charge(self, work: ChargeWork) -> ProviderCharge:
        if work.payment.amount.amount_minor == MISQUOTED_MINOR:
            work = replace(work, payment=replace(work.payment, amount=Money(MISQUOTED_MINOR - 1, "EUR")))
        return await self._provider.charge(work)


class Listed:
    """A provider with this list of charges."""

    name = "sandbox"

    def __init__(self, *charges: Charge) -> None:
        self._charges = charges

    async def charges(self) -> tuple[Charge, ...]:
        return self._charges


@dataclass
class Lab:
    """Databases at rest, what happened in them, and what the provider says it charged.

    `story` maps names such as `confirmed` to order ids, `confirmed_payment` to payment ids, and so on.
    """

    admin_url: str
    urls: Mapping[str, str]
    sandbox_state: Path
    story: dict[str, str] = field(default_factory=dict)
    charges: tuple[Charge, ...] = ()

    async def audit(
        self, *, limits: Limits | None = None, provider: Any = None, wait_s: float = 0.0, **urls: str
    ) -> Report:
        """Audit these databases, some of them replaced by others."""
        urls = {**self.urls, **urls}
        bus_url = urls.pop(BUS)
        sources = Sources(databases=urls, bus_url=bus_url, provider=provider or Listed(*self.charges))
        return await audit(sources, wait_s=wait_s, limits=limits or Limits())

    @contextlib.asynccontextmanager
    async def copies(self, *rooms: str) -> AsyncIterator[dict[str, str]]:
        """Copies of rooms' databases (and of the `bus`), as their DSNs; gone afterwards."""
        copied = {room: f"t_{new_id().replace('-', '')}" for room in rooms}
        for room, name in copied.items():
            await self._admin(f'CREATE DATABASE "{name}" TEMPLATE "{_database(self.urls[room])}"')
        try:
            yield {room: self.urls[room].replace(_database(self.urls[room]), name) for room, name in copied.items()}
        finally:
            for name in copied.values():
                await self._admin(f'DROP DATABASE "{name}" WITH (FORCE)')

    async def spoil(self, url: str, *statements: str) -> None:
        """Run statements as the superuser, in one transaction; `{name}` stands for what the story calls so."""
        connection = await asyncpg.connect(self._as_admin(_database(url)))
        try:
            async with connection.transaction():
                for statement in statements:
                    await connection.execute(statement.format(**self.story))
        finally:
            await connection.close()

    async def _admin(self, statement: str) -> None:
        connection = await asyncpg.connect(self.admin_url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def _as_admin(self, database: str) -> str:
        parts = urlsplit(self.admin_url)
        return provision.url_for(self.admin_url, parts.username or "postgres", parts.password or "", database)


def _database(url: str) -> str:
    return urlsplit(url).path.lstrip("/")


@dataclass
class Room:
    """A running room."""

    app: ASGIApp
    parts: Any
    foundation: Foundation


class Platform:
    """All rooms at work, and people who use them."""

    def __init__(self, rooms: Mapping[str, Room], door: Doorkeeper) -> None:
        self.rooms = rooms
        self.door = door
        self.admin = door.introduce()

    async def ask(self, method: str, path: str, body: Any = None, *, by: Caller | None = None, **headers: str) -> Any:
        """One request to the room whose path it is; every POST has a key of its own."""
        room = path.split("/")[2]
        if path.endswith("/refunds") or room == "payments":
            room = "payment"
        elif path.endswith(("/disable", "/enable", "/roles")):
            room = "auth"
        room = {"auth": "auth", "users": "user", "payment": "payment"}.get(room, "order")
        sent = {name.replace("_", "-"): value for name, value in headers.items()} | {"idempotency-key": new_id()}
        if by is not None:
            sent["authorization"] = f"Bearer {by.token}"
        answer: Response = await call(self.rooms[room].app, method, path, json=body, headers=sent)
        assert answer.status < 300, (method, path, answer.status, answer.json)
        return answer.json

    async def meet_the_administrator(self) -> None:
        """Sign in the one that auth-service made at its start."""
        signed_in = await self.ask("POST", "/v1/auth/login", ADMINISTRATOR)
        self.admin = self.door.introduce("admin", subject=signed_in["user"]["id"])

    async def register(self, name: str) -> Caller:
        """A new customer."""
        body = {"email": f"{name}-{new_id()[-6:]}@example.test", "password": "correct horse battery", "name": name}
        registered = await self.ask("POST", "/v1/auth/register", body)
        return self.door.introduce(subject=registered["user"]["id"])

    async def order(self, by: Caller, method: str = "pm_card_visa", *lines: tuple[str, int]) -> str:
        """Place an order."""
        body = {
            "lines": [{"sku": sku, "quantity": quantity} for sku, quantity in lines or (("mug", 2), ("cap", 1))],
            "payment_method": method,
            "shipping_address": ADDRESS,
        }
        return str((await self.ask("POST", "/v1/orders", body, by=by))["id"])

    async def until(self, order_id: str, satisfied: Callable[[Any], bool]) -> Any:
        """The order, once it is as it should be."""

        async def look() -> Any:
            seen = await self.ask("GET", f"/v1/orders/{order_id}", by=self.admin)
            return seen if satisfied(seen) else None

        return await eventually(look, 30.0)

    async def reach(self, order_id: str, status: str) -> Any:
        """The order, once it has this status."""
        return await self.until(order_id, lambda order: order["status"] == status)

    async def refund(self, order_id: str, amount_minor: int | None = None) -> str:
        """Refund an order, and wait until it says so; returns the refund's id."""
        before = (await self.ask("GET", f"/v1/orders/{order_id}", by=self.admin))["refunded"]
        amount = {} if amount_minor is None else {"amount": {"amount_minor": amount_minor, "currency": "EUR"}}
        refund = await self.ask("POST", f"/v1/orders/{order_id}/refunds", {"reason": "broken", **amount}, by=self.admin)
        await self.until(order_id, lambda order: order["refunded"] != before)
        return str(refund["id"])


@contextlib.asynccontextmanager
async def running(urls: Mapping[str, str], sandbox: Sandbox, folder: Path, smtp_port: int) -> AsyncIterator[Platform]:
    """All rooms on these databases."""
    keys = Keys(folder)
    common = {
        "TRADEWIND_ENV": "dev",
        "BUS_URL": urls[BUS],
        "AUTH_SIGNING_KEYS_FILE": str(keys.path),
        "NOTIFICATION_SMTP_URL": f"smtp://127.0.0.1:{smtp_port}",
        "PAYMENT_SANDBOX_URL": sandbox.url,
        "PAYMENT_SANDBOX_API_KEY": API_KEY,
        "PAYMENT_SANDBOX_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "PAYMENT_PROVIDER_TIMEOUT_S": "0.3",
        "TRADEWIND_ADMIN_EMAIL": ADMINISTRATOR["email"],
        "TRADEWIND_ADMIN_PASSWORD": ADMINISTRATOR["password"],
    }
    door = Doorkeeper()
    rooms: dict[str, Room] = {}
    async with contextlib.AsyncExitStack() as stack:
        for name, (create_app, kind) in ROOMS.items():
            settings = load(kind, {**common, f"{name.upper()}_DATABASE_URL": urls[name]})
            service = create_app(settings)
            foundation = await stack.enter_async_context(open_foundation(name, settings))
            assembled = misquoted(settings, foundation) if name == "payment" else service.assemble(foundation)
            parts = await stack.enter_async_context(assembled)
            await stack.enter_async_context(_at_work(service, settings, foundation, parts))
            app = build_asgi(service.api, parts, Doorman(door, foundation.database, foundation.metrics))
            rooms[name] = Room(app, parts, foundation)
        platform = Platform(rooms, door)
        await platform.meet_the_administrator()
        yield platform


@contextlib.asynccontextmanager
async def misquoted(settings: PaymentSettings, foundation: Foundation) -> AsyncIterator[PaymentParts]:
    """payment-service's parts over a provider that gets one charge wrong."""
    provider = open_provider(settings, foundation.metrics)
    try:
        async with at_work(foundation, Misquoting(provider), concurrency=16) as parts:  # type: ignore[arg-type]
            yield parts
    finally:
        await provider.close()


@contextlib.asynccontextmanager
async def _at_work(service: Service[Any], settings: Any, foundation: Foundation, parts: Any) -> AsyncIterator[None]:
    stop = asyncio.Event()
    background = _background(service, settings, foundation, parts)
    async with alongside(*(asyncio.create_task(each.guard(stop)) for each in background)):
        yield


async def make_databases(admin_url: str) -> dict[str, str]:
    """A migrated database for each room and one for the bus; DSNs of those who run on them."""
    urls: dict[str, str] = {}
    for room in ROOMS:
        name = f"t_{new_id().replace('-', '')}"
        access = await provision.create_room(admin_url, room, password="runtime", owner_password="owner", database=name)
        await migrate(access.owner_url, ROOM_FOLDERS / room / "migrations")
        urls[room] = access.url
    name = f"t_{new_id().replace('-', '')}"
    await provision.create_database(admin_url, name)
    parts = urlsplit(admin_url)
    urls[BUS] = provision.url_for(admin_url, parts.username or "postgres", parts.password or "", name)
    await ensure_schema(urls[BUS])
    return urls


async def fill(admin_url: str, folder: Path, *, bus_url: str | None = None) -> Lab:
    """Let all that can happen to orders happen, until nothing is under way any more; on another bus than our own if asked."""
    urls = await make_databases(admin_url)
    if bus_url is not None:
        urls[BUS] = bus_url
    smtp = Controller(Sink(), hostname="127.0.0.1", port=free_port())
    smtp.start()
    sandbox = Sandbox(folder / "psp")
    try:
        await sandbox.start()
        lab = Lab(admin_url, urls, folder / "psp")
        async with running(urls, sandbox, folder, smtp.port) as platform:
            await _tell(platform, lab.story)
            await _bury_and_replay(platform, lab)
            provider = SandboxCharges(sandbox.url, API_KEY)
            report = await lab.audit(provider=provider, wait_s=30.0)
            assert report.settled, report.waits_for
            lab.charges = tuple(await provider.charges())
            await seal_ledger(platform.rooms["payment"].parts)
        await _name_ids(lab)
    finally:
        await sandbox.close()
        smtp.stop()
    return lab


async def _tell(platform: Platform, story: dict[str, str]) -> None:
    for sku, price in (("mug", 1_000), ("cap", 700), ("odd", MISQUOTED_MINOR)):
        body = {"sku": sku, "name": sku, "price": {"amount_minor": price, "currency": "EUR"}, "stock": 100}
        await platform.ask("POST", "/v1/products", body, by=platform.admin)
    await platform.ask("POST", "/v1/products/cap/stock", {"delta": 5}, by=platform.admin)
    await platform.ask("POST", "/v1/products/cap/stock", {"delta": -2}, by=platform.admin)
    ada, bob = await platform.register("ada"), await platform.register("bob")
    story["ada"], story["bob"] = ada.subject, bob.subject
    story["nobody"] = new_id()
    placed = {
        "confirmed": platform.order(ada),
        "declined": platform.order(ada, "pm_card_chargeDeclined"),
        "waiting": platform.order(bob, "pm_card_authenticationRequired"),
        "let_go": platform.order(bob, "pm_card_authenticationRequired"),
        "late": platform.order(ada, "pm_sandbox_slow"),
        "unsure": platform.order(ada, "pm_sandbox_timeout_charged"),
        "misquoted": platform.order(ada, "pm_card_visa", ("odd", 1)),
        "returned": platform.order(bob),
        "refunded": platform.order(bob),
        "partly": platform.order(ada, "pm_card_visa", ("mug", 1)),
        "delivered": platform.order(ada, "pm_card_visa", ("cap", 3)),
    }
    story |= zip(placed, await asyncio.gather(*placed.values()), strict=True)
    async with asyncio.TaskGroup() as lives:
        lives.create_task(_change_accounts(platform, ada, bob))
        for name in placed:
            lives.create_task(_live(platform, name, story, bob))


async def _live(platform: Platform, name: str, story: dict[str, str], bob: Caller) -> None:
    """What becomes of an order."""
    order_id, cancel = story[name], f"/v1/orders/{story[name]}/cancel"
    match name:
        case "declined" | "misquoted":
            await platform.reach(order_id, "cancelled")
        case "late":
            await platform.ask("POST", cancel, by=platform.admin)
            await platform.until(order_id, lambda order: order["refunded"] == order["total"])
        case "waiting":
            await platform.until(order_id, lambda order: order["payment"]["status"] == "requires_action")
        case "let_go":
            await platform.until(order_id, lambda order: order["payment"]["status"] == "requires_action")
            await platform.ask("POST", cancel, by=bob)
            await platform.until(order_id, lambda order: order["payment"]["status"] == "cancelled")
        case "returned":
            await platform.reach(order_id, "confirmed")
            await platform.ask("POST", cancel, by=bob)
            await platform.until(order_id, lambda order: order["refunded"] == order["total"])
        case "refunded":
            await platform.reach(order_id, "confirmed")
            await platform.refund(order_id)
            await platform.reach(order_id, "cancelled")
        case "partly" | "delivered":
            await platform.reach(order_id, "confirmed")
            story[f"{name}_refund"] = await platform.refund(order_id, 300)
            shipment = {"carrier": "DHL", "tracking": "1Z"}
            await platform.ask("POST", f"/v1/orders/{order_id}/ship", shipment, by=platform.admin)
            if name == "delivered":
                await platform.ask("POST", f"/v1/orders/{order_id}/deliver", by=platform.admin)
                await platform.refund(order_id)
        case _:
            await platform.reach(order_id, "confirmed")


async def _change_accounts(platform: Platform, ada: Caller, bob: Caller) -> None:
    await platform.ask("PATCH", "/v1/users/me", {"name": "Ada L."}, by=ada, if_match="*")
    await platform.ask("POST", f"/v1/users/{bob.subject}/disable", by=platform.admin)
    await platform.ask("POST", f"/v1/users/{bob.subject}/enable", by=platform.admin)


async def _bury_and_replay(platform: Platform, lab: Lab) -> None:
    """Two messages that nobody can read become dead letters of two rooms: one is mended and replayed, the other dropped."""
    ada = lab.story["ada"]
    transport = await open_transport(lab.urls[BUS], member="lab")
    unreadable = {"topic": "user", "key": ada, "type": UserProfileChanged.TYPE, "value": b"\xff{"}
    await transport.publish([Message(id=new_id(), **unreadable) for _ in range(2)])
    await transport.close()
    for room in ("notification", "auth"):
        database = platform.rooms[room].foundation.database
        letters = DeadLetters(database)

        async def buried(letters: DeadLetters = letters) -> Any:
            found = await letters.list(states=OPEN)
            return found if len(found) == 2 else None

        first, second = await eventually(buried)
        mended = Envelope(
            id=first.event_id, source="user-service", type=UserProfileChanged.TYPE, subject=ada,
            time=SystemClock().now(), aggregateversion=1, data=UserProfileChanged(user_id=ada, name="Ada L."),
        )  # fmt: skip
        await database.execute("UPDATE dead_letter SET value = $2 WHERE id = $1", first.id, encode(mended))
        await letters.drop(second.id)
        await letters.replay(first.id)
        await eventually(lambda letters=letters: letters.list(state="replayed"))  # type: ignore[misc]


async def _name_ids(lab: Lab) -> None:
    """Call payments, attempts and events after the order or the person they belong to."""
    named = {id_: name for name, id_ in lab.story.items()}
    payments = await asyncpg.connect(lab.urls["payment"])
    sql = "SELECT p.order_id::text, p.id::text, a.id::text AS attempt FROM payment p JOIN attempt a ON a.payment_id = p.id"
    for order_id, payment_id, attempt_id in await payments.fetch(sql):
        name = named[payment_id] = named[order_id]
        lab.story |= {f"{name}_payment": payment_id, f"{name}_attempt": attempt_id}
    await payments.close()
    bus = await open_transport(lab.urls[BUS], member="lab")
    async for messages in bus.read(await bus.heads()):
        for message in messages:
            if message.key in named:
                lab.story.setdefault(f"{named[message.key]}_{message.type.split('.')[1]}_event", message.id)
    await bus.close()


_LABS: dict[str, Lab] = {}


@pytest.fixture(scope="session")
def lab(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """The databases, filled once for a test process, however many files ask for them."""
    if postgres_url not in _LABS:
        _LABS[postgres_url] = asyncio.run(fill(postgres_url, tmp_path_factory.mktemp("lab")))
    return _LABS[postgres_url]
