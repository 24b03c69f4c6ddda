"""What the audit reads at Stripe, and when it reads there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests import stripe_stand_in
from tests.integration.provider_sides import StripeSide, new_work, open_stripe_side, refund_of
from tradewind.audit import provider_stripe
from tradewind.audit.provider import SandboxCharges
from tradewind.audit.provider_stripe import StripeCharges
from tradewind.audit.sources import Charge
from tradewind.chassis.errors import Unavailable
from tradewind.cli.platform_access import audit_sources
from tradewind.stack.rooms import rooms_with_database

DATABASES = {f"{room.upper()}_DATABASE_URL": "postgresql://db" for room in rooms_with_database()}
STRIPE = {"PAYMENT_STRIPE_API_KEY": "rk_live_1"}
SANDBOX = {"PAYMENT_SANDBOX_URL": "http://127.0.0.1:9", "PAYMENT_SANDBOX_API_KEY": "key"}


@pytest_asyncio.fixture
async def side() -> AsyncIterator[StripeSide]:
    async with open_stripe_side() as side:
        yield side


def listed(side: StripeSide, api_key: str = stripe_stand_in.API_KEY) -> StripeCharges:
    return StripeCharges(api_key, side.stand_in.url)


async def test_what_took_money_is_listed_page_by_page_oldest_first(side: StripeSide) -> None:
    works = [new_work() for _ in range(101)]
    charges = [await side.provider.charge(work) for work in works]
    await side.provider.refund(refund_of(works[0], charges[0], 99))
    await side.provider.charge(new_work("pm_card_chargeDeclined"))
    await side.provider.charge(new_work(capture=False))
    side.stand_in.books.create_intent(
        {"amount": 5, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True, "metadata": {}}
        | {"capture_method": "automatic"}
    )["metadata"] = {}
    found = await listed(side).charges()
    assert len(found) == 102
    assert found[0] == Charge(
        id=charges[0].id,
        attempt_id=works[0].attempt.id,
        order_id=works[0].payment.order_id,
        captured_minor=1999,
        refunded_minor=99,
        currency="EUR",
    )
    stranger = found[-1]
    assert (stranger.attempt_id, stranger.captured_minor, stranger.currency) == ("", 5, "USD")


async def test_what_cannot_be_listed_is_not_passed_over(side: StripeSide, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable):
        await listed(side, "sk_test_of_somebody_else").charges()
    for _ in range(101):
        await side.provider.charge(new_work())
    monkeypatch.setattr(provider_stripe, "MAX_PAGES", 1)
    with pytest.raises(Unavailable, match="more than 100"):
        await listed(side).charges()


@pytest.mark.parametrize(
    ("variables", "kind"),
    [
        (STRIPE, StripeCharges),
        (SANDBOX, SandboxCharges),
        (SANDBOX | STRIPE, SandboxCharges),
        (SANDBOX | STRIPE | {"PAYMENT_PROVIDER": "stripe"}, StripeCharges),
        (STRIPE | {"PAYMENT_PROVIDER": "sandbox"}, type(None)),
        ({}, type(None)),
    ],
)
def test_the_audit_looks_where_the_payments_go(tmp_path: Path, variables: dict[str, str], kind: type) -> None:
    environ = {"TRADEWIND_HOME": str(tmp_path), "BUS_URL": "postgresql://bus", **DATABASES, **variables}
    assert isinstance(audit_sources(environ).provider, kind)
