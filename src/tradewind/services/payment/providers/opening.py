"""From settings to the provider they name."""

from __future__ import annotations

from tradewind.chassis.health import Readiness
from tradewind.chassis.metrics import Metrics
from tradewind.chassis.settings import Secret
from tradewind.chassis.third_party import ThirdPartyClient
from tradewind.services.payment.providers import Provider
from tradewind.services.payment.providers.sandbox import SandboxProvider
from tradewind.services.payment.settings import PaymentSettings


def open_provider(settings: PaymentSettings, metrics: Metrics, readiness: Readiness | None = None) -> Provider:
    """The provider the settings name; it connects when it is first asked. While it is away the service is degraded."""
    open_ = _open_stripe if settings.provider == "stripe" else _open_sandbox
    provider, client = open_(settings, metrics)
    if readiness is not None:
        readiness.prefer("provider", client.circuit.check)
    return provider


def _open_sandbox(settings: PaymentSettings, metrics: Metrics) -> tuple[Provider, ThirdPartyClient]:
    client = ThirdPartyClient(
        settings.sandbox_url,
        "psp-sandbox",
        headers={"authorization": f"Bearer {_reveal(settings.sandbox_api_key)}"},
        pool_size=_connections(settings),
        metrics=metrics,
    )
    provider = SandboxProvider(
        client, webhook_secret=_reveal(settings.sandbox_webhook_secret), timeout_s=settings.provider_timeout_s
    )
    return provider, client


def _open_stripe(settings: PaymentSettings, metrics: Metrics) -> tuple[Provider, ThirdPartyClient]:
    # Here and not above: the SDK takes 7 MB and a tenth of a second, which only its users shall pay.
    from tradewind.services.payment.providers.stripe import StripeProvider

    base_url = settings.stripe_url.rstrip("/")
    client = ThirdPartyClient(base_url, "stripe", pool_size=_connections(settings), metrics=metrics)
    provider = StripeProvider(
        client,
        base_url,
        api_key=_reveal(settings.stripe_api_key),
        webhook_secrets=settings.stripe_webhook_secrets,
        return_url=settings.stripe_return_url,
        timeout_s=settings.provider_timeout_s,
    )
    metrics.watch(
        "payment_provider_key_refused",
        "1 while the provider does not accept our API key: no payment succeeds until it is changed.",
        lambda: int(provider.key_refused),
        {"provider": provider.name},
    )
    return provider, client


def _connections(settings: PaymentSettings) -> int:
    # New payments and old ones have their own allowance; neither waits for the other here.
    return 2 * settings.provider_concurrency


def _reveal(secret: Secret | None) -> str:
    return secret.reveal() if secret else ""
