"""From settings to the provider they name."""

from __future__ import annotations

from tradewind.chassis.metrics import Metrics
from tradewind.chassis.third_party import ThirdPartyClient
from tradewind.services.payment.providers import Provider
from tradewind.services.payment.providers.sandbox import SandboxProvider
from tradewind.services.payment.settings import PaymentSettings


def open_provider(settings: PaymentSettings, metrics: Metrics) -> Provider:
    """The provider the settings name; it connects when it is first asked."""
    client = ThirdPartyClient(
        settings.sandbox_url,
        "psp-sandbox",
        headers={"authorization": f"Bearer {settings.sandbox_api_key.reveal()}"},
        # New payments and old ones have their own allowance; neither waits for the other here.
        pool_size=2 * settings.provider_concurrency,
        metrics=metrics,
    )
    return SandboxProvider(
        client,
        webhook_secret=settings.sandbox_webhook_secret.reveal(),
        timeout_s=settings.provider_timeout_s,
    )
