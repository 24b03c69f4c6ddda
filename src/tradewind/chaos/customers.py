"""Customers and staff of a run: they register, order with every payment method, change their minds, ship and give back.

Each write is in the journal before whoever asked for it goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import aiohttp
import msgspec

from tradewind.chaos.journal import Act, Entry, Journal
from tradewind.chaos.sender import Sender, UnknownOutcome
from tradewind.chassis.ids import new_id
from tradewind.traffic.client import ADDRESS, Refused

PASSWORD = "the wind blows from the north-east"  # noqa: S105 - of customers who are made of code
TOKEN_AGE_MAX_S = 240.0
"""A new token is fetched well before the old one ends, which is after 600 s."""
CHALLENGE_TIMEOUT_S = 5.0
BURST = 5
MOST_ACTING = 100
"""Customers at the same time. When so many wait already, others do not come in."""
METHODS = {
    "pm_card_visa": 50,
    "pm_card_chargeDeclined": 6,
    "pm_card_chargeDeclinedInsufficientFunds": 4,
    "pm_card_authenticationRequired": 10,
    "pm_sandbox_timeout_charged": 7,
    "pm_sandbox_timeout_not_charged": 7,
    "pm_sandbox_slow": 6,
    "pm_sandbox_flaky": 10,
}
"""Payment methods and how often of a hundred each is drawn."""
_ALLOWED = frozenset({"illegal-transition", "refund-exceeds-captured", "out-of-stock", "order-not-found"})
"""What a write may be refused with: somebody else was faster, or it came too early."""
_SIGNED_OUT = frozenset({"token-expired", "token-invalid"})


class Customer(msgspec.Struct, kw_only=True):
    """A registered customer. The token is fetched anew when it gets old."""

    id: str
    email: str
    token: str
    token_since_s: float


class Placed(msgspec.Struct, kw_only=True):
    """An order that was acknowledged, and what was last seen of it."""

    id: str
    customer: Customer
    status: str = "pending"
    busy: bool = False


class Crowd:
    """Draws what happens next and does it. `admin` gives a token of somebody who may ship and refund."""

    def __init__(self, sender: Sender, journal: Journal, *, seed: int, admin: Any) -> None:
        self._sender = sender
        self._journal = journal
        self._random = random.Random(f"crowd {seed}")
        self._admin = admin
        self._customers: list[Customer] = []
        self._orders: dict[str, Placed] = {}
        self.skus: list[str] = []
        self.acknowledged: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    @property
    def orders(self) -> Mapping[str, Placed]:
        """All orders that were acknowledged, by their ids."""
        return self._orders

    async def open_catalogue(self, articles: int, stock: int) -> None:
        """Fill the shelves."""
        run = new_id()[-6:]
        for number in range(articles):
            sku = f"chaos-{run}-{number}"
            price = {"amount_minor": 500 + 37 * number, "currency": "EUR"}
            body = {"sku": sku, "name": f"Article {number}", "price": price, "stock": stock}
            await self._sender.write("/v1/products", token=self._admin(), body=body, key=new_id())
            self.skus.append(sku)

    async def register(self) -> Customer | None:
        """A new customer; None when nobody knows whether there is one now."""
        email = f"{new_id()}@example.test"
        body = {"email": email, "password": PASSWORD, "name": "Customer"}
        entry = Entry(act="register", key=email, subject="", path="/v1/auth/register")
        await self._journal.asked(entry)
        try:
            answer = await self._sender.write(entry.path, body=body)
        except UnknownOutcome:
            return None
        user = answer.body["user"]
        await self._acknowledged(entry, answer.status, {"id": user["id"]})
        customer = Customer(
            id=user["id"], email=email, token=answer.body["access_token"], token_since_s=time.monotonic()
        )
        self._customers.append(customer)
        return customer

    async def act(self) -> None:
        """One thing that somebody does."""
        drawn = self._random.random()
        with contextlib.suppress(UnknownOutcome):
            if drawn < 0.03:
                await self.register()
            elif drawn < 0.45:
                await self._order(self._random.choice(self._customers))
            elif drawn < 0.75:
                await self._see_to(self._random.choice(list(self._orders.values())) if self._orders else None)
            else:
                await self._look_around(self._random.choice(self._customers))

    async def meet_challenges(self, ids: Iterable[str]) -> None:
        """Nobody leaves a challenge open: the customers of these orders answer their banks."""
        for placed in [self._orders[one] for one in ids]:
            with contextlib.suppress(UnknownOutcome):
                order = await self._read(f"/v1/orders/{placed.id}", placed.customer)
                if order and order["status"] == "pending" and "next_action" in order["payment"]:
                    await self._meet_challenge(placed, order)

    async def token_of(self, subject: str) -> str:
        """An access token of a customer by id, or of the staff."""
        return await self._token(next((each for each in self._customers if each.id == subject), None))

    # what they do

    async def _order(self, customer: Customer) -> None:
        lines = [
            {"sku": sku, "quantity": self._random.randint(1, 3)}
            for sku in self._random.sample(self.skus, self._random.randint(1, 3))
        ]
        method = self._random.choices(list(METHODS), weights=list(METHODS.values()))[0]
        body = {"lines": lines, "payment_method": method, "shipping_address": ADDRESS}
        answer = await self._write("order", "/v1/orders", customer, body=body)
        if answer is not None:
            self._orders[answer["id"]] = Placed(id=answer["id"], customer=customer)

    async def _see_to(self, placed: Placed | None) -> None:
        """Look at an order, and do one of the things that can be done with it."""
        if placed is None or placed.busy:
            return
        placed.busy = True
        try:
            order = await self._read(f"/v1/orders/{placed.id}", placed.customer)
            if order is None:
                return
            placed.status = order["status"]
            await self._next_step(placed, order)
        finally:
            placed.busy = False

    async def _next_step(self, placed: Placed, order: Any) -> None:
        path = f"/v1/orders/{placed.id}"
        drawn = self._random.random()
        match order["status"]:
            case "pending" if "next_action" in order["payment"]:
                await self._meet_challenge(placed, order)
            case "pending" if drawn < 0.25:
                await self._write("cancel", f"{path}/cancel", placed.customer, order_id=placed.id)
            case "confirmed" if drawn < 0.15:
                await self._write("cancel", f"{path}/cancel", placed.customer, order_id=placed.id)
            case "confirmed" if drawn < 0.55:
                shipment = {"carrier": "Clipper", "tracking": new_id()[-8:]}
                await self._write("ship", f"{path}/ship", None, order_id=placed.id, body=shipment)
            case "confirmed" | "shipped" | "delivered" if drawn < 0.85:
                await self._refund(placed, order, whole=drawn < 0.65)
            case "shipped":
                await self._write("deliver", f"{path}/deliver", None, order_id=placed.id)

    async def _refund(self, placed: Placed, order: Any, *, whole: bool) -> None:
        body: dict[str, Any] = {"reason": "requested_by_customer"}
        if not whole:
            most = max(1, order["total"]["amount_minor"] // 3)
            amount = {"amount_minor": self._random.randint(1, most), "currency": order["total"]["currency"]}
            body["amount"] = amount
        await self._write("refund", f"/v1/orders/{placed.id}/refunds", None, order_id=placed.id, body=body)

    async def _meet_challenge(self, placed: Placed, order: Any) -> None:
        """Answer at the bank's page, sometimes with no, and tell the shop."""
        decision = "decline" if self._random.random() < 0.2 else "approve"
        timeout = aiohttp.ClientTimeout(total=CHALLENGE_TIMEOUT_S)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as bank:
                async with bank.post(order["payment"]["next_action"]["url"], data={"decision": decision}) as page:
                    await page.read()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return  # the bank is away: another time
        path = f"/v1/payments/{order['payment']['id']}/confirm"
        await self._write("confirm", path, placed.customer, order_id=placed.id)

    async def _look_around(self, customer: Customer) -> None:
        paths = ("/v1/orders", "/v1/users/me", "/v1/notifications", "/v1/payments", f"/v1/products/{self.skus[0]}")
        await self._read(self._random.choice(paths), customer)

    # how they do it

    async def _write(
        self, act: Act, path: str, customer: Customer | None, *, order_id: str = "", body: Any = None
    ) -> Any:
        """A keyed POST of a customer, or of the staff (None); its body, or None when it was refused.

        Raises:
            UnknownOutcome: the client gave up; the journal has it as such.
        """
        subject = customer.id if customer is not None else "staff"
        entry = Entry(act=act, key=new_id(), subject=subject, path=path, body=body, order_id=order_id)
        await self._journal.asked(entry)
        while True:
            try:
                token = await self._token(customer)
                answer = await self._sender.write(path, token=token, body=body, key=entry.key)
            except Refused as refused:
                if customer is not None and refused.code in _SIGNED_OUT:
                    await self._sign_in(customer)
                    continue
                self._note_refusal(refused)
                await self._journal.answered(_answered(entry, refused.status, {"code": refused.code}))
                return None
            await self._acknowledged(entry, answer.status, answer.body)
            return answer.body

    async def _read(self, path: str, customer: Customer) -> Any:
        try:
            return await self._sender.read(path, await self._token(customer))
        except Refused as refused:
            if refused.code in _SIGNED_OUT:
                await self._sign_in(customer)
            else:
                self._note_refusal(refused)
            return None

    async def _token(self, customer: Customer | None) -> str:
        if customer is None:
            return str(self._admin())
        if time.monotonic() - customer.token_since_s > TOKEN_AGE_MAX_S:
            with contextlib.suppress(UnknownOutcome):  # the old one is good for minutes yet
                await self._sign_in(customer)
        return customer.token

    async def _sign_in(self, customer: Customer) -> None:
        self._sender.tried_again["signed in again"] += 1
        answer = await self._sender.write("/v1/auth/login", body={"email": customer.email, "password": PASSWORD})
        customer.token, customer.token_since_s = answer.body["access_token"], time.monotonic()

    async def _acknowledged(self, entry: Entry, status: int, body: Any) -> None:
        await self._journal.answered(_answered(entry, status, body))
        self.acknowledged[entry.act] += 1

    def _note_refusal(self, refused: Refused) -> None:
        self.refused[f"{refused.status} {refused.code}"] += 1
        if refused.code not in _ALLOWED:
            self._sender.wrong[f"{refused.status} {refused.code}"] += 1


def _answered(entry: Entry, status: int, body: Any) -> Entry:
    return msgspec.structs.replace(entry, status=status, answer=body)


class Traffic:
    """Lets somebody act `rate_per_s` times a second, whether or not what they did before was answered.

    They come `BURST` at a time, so that a fault finds more than one request in flight at a rate that two cores bear.
    """

    def __init__(self, crowd: Crowd, rate_per_s: float) -> None:
        self._crowd = crowd
        self._pause_s = BURST / rate_per_s
        self._acting: set[asyncio.Task[None]] = set()
        self._going: asyncio.Task[None] | None = None
        self.failed: Counter[str] = Counter()
        """Errors of the customers themselves: bugs of this program, or answers that nobody can read."""

    def start(self) -> None:
        """From now on."""
        self._going = asyncio.create_task(self._go())

    async def stop(self) -> None:
        """Nobody begins anything new; returns when everybody knows what became of what they did."""
        if self._going is not None:
            self._going.cancel()
            await asyncio.gather(self._going, return_exceptions=True)
        await asyncio.gather(*self._acting)

    async def _go(self) -> None:
        started_s = time.monotonic()
        number = 0
        while True:
            number += 1
            await asyncio.sleep(max(0.0, started_s + number * self._pause_s - time.monotonic()))
            for _ in range(min(BURST, MOST_ACTING - len(self._acting))):
                task = asyncio.create_task(self._one())
                self._acting.add(task)
                task.add_done_callback(self._acting.discard)

    async def _one(self) -> None:
        try:
            await self._crowd.act()
        except Exception as error:
            self.failed[f"{type(error).__name__}: {error}"] += 1
