"""What stops the start."""

from __future__ import annotations

import pytest

from tradewind.chassis.settings import SettingsError, load
from tradewind.services.payment.settings import PaymentSettings

ENVIRON = {
    "TRADEWIND_ENV": "dev",
    "PAYMENT_DATABASE_URL": "postgresql://payment_service@db/payment_service",
    "PAYMENT_SANDBOX_URL": "http://psp.test",
    "PAYMENT_SANDBOX_API_KEY": "sk_test",
    "PAYMENT_SANDBOX_WEBHOOK_SECRET": "whsec_test",
}


def refusal(**changes: str) -> str:
    with pytest.raises(SettingsError) as refused:
        load(PaymentSettings, ENVIRON | changes)
    assert len(refused.value.faults) == 1
    return refused.value.faults[0]


def test_the_least_that_will_do() -> None:
    settings = load(PaymentSettings, ENVIRON)
    assert (settings.provider, settings.provider_timeout_s, settings.provider_concurrency) == ("sandbox", 2.5, 32)
    assert "sk_test" not in repr(settings)
    assert "whsec_test" not in repr(settings)


def test_the_sandbox_is_for_dev() -> None:
    assert "refused unless TRADEWIND_ENV=dev" in refusal(TRADEWIND_ENV="prod")


def test_only_known_providers_and_sane_numbers() -> None:
    assert refusal(PAYMENT_PROVIDER="paypal").startswith("PAYMENT_PROVIDER")
    assert refusal(PAYMENT_PROVIDER_TIMEOUT_S="30").startswith("PAYMENT_PROVIDER_TIMEOUT_S")
    assert refusal(PAYMENT_PROVIDER_CONCURRENCY="0").startswith("PAYMENT_PROVIDER_CONCURRENCY")
