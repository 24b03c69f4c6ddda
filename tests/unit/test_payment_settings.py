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
    assert "refused unless TRADEWIND_ENV=dev" in refusal(TRADEWIND_ENV="prod", PAYMENT_PROVIDER="sandbox")


def test_only_known_providers_and_sane_numbers() -> None:
    assert refusal(PAYMENT_PROVIDER="paypal").startswith("PAYMENT_PROVIDER")
    assert refusal(PAYMENT_PROVIDER_TIMEOUT_S="30").startswith("PAYMENT_PROVIDER_TIMEOUT_S")
    assert refusal(PAYMENT_PROVIDER_CONCURRENCY="0").startswith("PAYMENT_PROVIDER_CONCURRENCY")


STRIPE = {
    "TRADEWIND_ENV": "prod",
    "PAYMENT_DATABASE_URL": "postgresql://payment_service@db/payment_service",
    "PAYMENT_STRIPE_API_KEY": "rk_live_0123456789",
    "PAYMENT_STRIPE_WEBHOOK_SECRET": "whsec_0123456789",
    "PAYMENT_STRIPE_RETURN_URL": "https://shop.example.test/back",
}
TEST_KEY = {"PAYMENT_STRIPE_API_KEY": "sk_test_0123456789"}


def stripe_refusal(**changes: str) -> str:
    with pytest.raises(SettingsError) as refused:
        load(PaymentSettings, STRIPE | changes)
    assert len(refused.value.faults) == 1
    assert "0123456789" not in refused.value.faults[0]
    return refused.value.faults[0]


def test_production_takes_stripe_by_itself() -> None:
    settings = load(PaymentSettings, STRIPE)
    assert (settings.provider, settings.stripe_url) == ("stripe", "https://api.stripe.com")
    assert settings.stripe_webhook_secrets == ["whsec_0123456789"]
    assert "0123456789" not in repr(settings)


@pytest.mark.parametrize(
    "name", ["PAYMENT_STRIPE_API_KEY", "PAYMENT_STRIPE_WEBHOOK_SECRET", "PAYMENT_STRIPE_RETURN_URL"]
)
def test_what_stripe_needs_is_named(name: str) -> None:
    assert stripe_refusal(**{name: ""}).startswith(f"{name}: missing")


def test_what_the_sandbox_needs_is_named() -> None:
    assert refusal(PAYMENT_SANDBOX_URL="").startswith("PAYMENT_SANDBOX_URL: missing")


def test_real_money_stays_out_of_dev_and_play_money_out_of_production() -> None:
    dev = {"TRADEWIND_ENV": "dev", "PAYMENT_PROVIDER": "stripe"}
    assert "live key" in stripe_refusal(**dev)
    assert load(PaymentSettings, STRIPE | dev | TEST_KEY).provider == "stripe"
    assert "test key moves no real money" in stripe_refusal(**TEST_KEY)
    assert load(PaymentSettings, STRIPE | TEST_KEY | {"PAYMENT_STRIPE_REHEARSAL": "true"}).stripe_rehearsal


def test_a_live_key_goes_to_stripe_and_nowhere_else() -> None:
    elsewhere = {"PAYMENT_STRIPE_URL": "http://127.0.0.1:9", "PAYMENT_STRIPE_REHEARSAL": "true"}
    assert "nowhere else" in stripe_refusal(**elsewhere)
    assert load(PaymentSettings, STRIPE | TEST_KEY | elsewhere).stripe_url == "http://127.0.0.1:9"


def test_keys_of_the_wrong_kind_are_refused() -> None:
    assert "no secret or restricted key" in stripe_refusal(PAYMENT_STRIPE_API_KEY="pk_live_0123456789")
    assert "no signing secret" in stripe_refusal(PAYMENT_STRIPE_WEBHOOK_SECRET="whsec_0123456789, sk_0123456789")


def test_several_signing_secrets() -> None:
    settings = load(PaymentSettings, STRIPE | {"PAYMENT_STRIPE_WEBHOOK_SECRET": "whsec_1, whsec_2"})
    assert settings.stripe_webhook_secrets == ["whsec_1", "whsec_2"]
