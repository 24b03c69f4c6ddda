"""Both payment providers behind their adapters, as one test suite uses them: a real server, a proxy that cuts, the adapter."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

from tests import sandbox_process, stripe_stand_in
from tests.cutting_proxy import CuttingProxy, cutting_proxy
from tests.sandbox_process import Sandbox
from tests.stripe_stand_in.server import StripeStandIn, open_stand_in
from tradewind.chassis.ids import new_id
from tradewind.chassis.metrics import Metrics
from tradewind.chassis.settings import Secret
from tradewind.contracts.money import Money
from tradewind.services.payment.domain.charge import Charge
from tradewind.services.payment.domain.payment import Payment
from tradewind.services.payment.domain.refund import Refund
from tradewind.services.payment.domain.settlement import Attempt
from tradewind.services.payment.domain.work import ChargeWork, RefundWork
from tradewind.services.payment.providers import Provider
from tradewind.services.payment.providers.opening import open_provider
from tradewind.services.payment.settings import PaymentSettings

PROVIDERS = ("sandbox", "stripe")
TIMEOUT_S = 2.0
AMOUNT = Money(1999, "EUR")


class Side(Protocol):
    """A provider: the adapter, the proxy before it, and what only its other side can do or tell."""

    provider: Provider
    proxy: CuttingProxy

    async def answer_challenge(self, charge: Charge, *, approved: bool) -> None:
        """The customer says yes or no at the bank's page."""
        ...

    async def taken(self, order_id: str) -> list[tuple[int, int]]:
        """(captured, refunded) of each charge of an order that took money."""
        ...


class SandboxSide:
    """The sandbox process."""

    def __init__(self, provider: Provider, proxy: CuttingProxy, sandbox: Sandbox) -> None:
        self.provider = provider
        self.proxy = proxy
        self.sandbox = sandbox

    async def answer_challenge(self, charge: Charge, *, approved: bool) -> None:
        assert charge.action_url is not None
        path = charge.action_url.removeprefix(self.sandbox.url)
        form = b"decision=approve" if approved else b"decision=decline"
        assert (await self.sandbox.call("POST", path, form, api_key=None)).status == 200

    async def taken(self, order_id: str) -> list[tuple[int, int]]:
        return [
            (charge["amount_captured_minor"], charge["amount_refunded_minor"])
            for charge in await self.sandbox.charges(reference=order_id)
            if charge["amount_captured_minor"]
        ]


class StripeSide:
    """The stand-in for Stripe."""

    def __init__(self, provider: Provider, proxy: CuttingProxy, stand_in: StripeStandIn) -> None:
        self.provider = provider
        self.proxy = proxy
        self.stand_in = stand_in

    async def answer_challenge(self, charge: Charge, *, approved: bool) -> None:
        assert charge.action_url == f"{self.stand_in.url}/bank/{charge.id}"
        self.stand_in.books.authenticate(charge.id, approved=approved)

    async def taken(self, order_id: str) -> list[tuple[int, int]]:
        charges = [each for each in self.stand_in.books.charges.values() if each["metadata"]["order_id"] == order_id]
        return [(each["amount_captured"], each["amount_refunded"]) for each in charges if each["amount_captured"]]


@contextlib.asynccontextmanager
async def open_side(name: str, folder: Path) -> AsyncIterator[Side]:
    """A provider by name."""
    async with open_stripe_side() if name == "stripe" else open_sandbox_side(folder) as side:
        yield side


@contextlib.asynccontextmanager
async def open_sandbox_side(folder: Path) -> AsyncIterator[SandboxSide]:
    sandbox = Sandbox(folder / "psp")
    try:
        await sandbox.start()
        async with cutting_proxy(sandbox.port) as proxy:
            async with _opened(_settings("sandbox", sandbox_url=proxy.url)) as provider:
                yield SandboxSide(provider, proxy, sandbox)
    finally:
        await sandbox.close()


@contextlib.asynccontextmanager
async def open_stripe_side(**more: str) -> AsyncIterator[StripeSide]:
    async with open_stand_in() as stand_in, cutting_proxy(stand_in.port) as proxy:
        async with _opened(_settings("stripe", **{"stripe_url": proxy.url, **more})) as provider:
            yield StripeSide(provider, proxy, stand_in)


@contextlib.asynccontextmanager
async def _opened(settings: PaymentSettings) -> AsyncIterator[Provider]:
    provider = open_provider(settings, Metrics())
    try:
        yield provider
    finally:
        await provider.close()


def _settings(provider: str, **more: str) -> PaymentSettings:
    return PaymentSettings(
        environment="dev",
        provider=provider,
        database_url=Secret("postgresql://nowhere"),
        provider_timeout_s=TIMEOUT_S,
        sandbox_api_key=Secret(sandbox_process.API_KEY),
        sandbox_webhook_secret=Secret(sandbox_process.WEBHOOK_SECRET),
        stripe_api_key=Secret(stripe_stand_in.API_KEY),
        stripe_webhook_secret=Secret(stripe_stand_in.WEBHOOK_SECRET),
        stripe_return_url="https://shop.example.test/back",
        **more,
    )


def new_work(
    method: str = "pm_card_visa",
    amount: Money = AMOUNT,
    *,
    capture: bool = True,
    fresh: bool = True,
    age_s: float = 0.0,
) -> ChargeWork:
    """An attempt at an order's money."""
    payment = Payment(id=new_id(), order_id=new_id(), customer_id=new_id(), amount=amount, payment_method=method)
    attempt = Attempt(id=new_id(), payment_id=payment.id, capture=capture)
    return ChargeWork(payment=payment, attempt=attempt, fresh=fresh, age_s=age_s)


def refund_of(work: ChargeWork, charge: Charge, amount_minor: int) -> RefundWork:
    """A refund of so much."""
    refund = Refund(id=new_id(), payment_id=work.payment.id, amount_minor=amount_minor, reason="broken")
    return RefundWork(refund=refund, charge_id=charge.id, amount=work.payment.money(amount_minor), fresh=True)
