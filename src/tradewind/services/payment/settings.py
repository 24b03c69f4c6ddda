"""What payment-service needs from its environment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from msgspec import Meta
from msgspec.structs import force_setattr

from tradewind.chassis.settings import DatabaseServiceSettings, Secret, Setting, SettingsError

STRIPE_URL = "https://api.stripe.com"


class PaymentSettings(DatabaseServiceSettings, frozen=True, kw_only=True):
    """Environment of payment-service.

    Raises:
        SettingsError: what the chosen provider needs is missing, or it would move no real money outside of dev, or real
            money in dev.
    """

    PREFIX: ClassVar[str] = "PAYMENT_"

    provider: Annotated[
        Literal["auto", "sandbox", "stripe"],
        Setting("Who moves the money: stripe, or sandbox, which moves none; auto: sandbox in dev, stripe elsewhere."),
    ] = "auto"
    capture: Annotated[
        Literal["automatic", "manual"],
        Setting(
            "How new payments take money: automatic, in one step with the charge; manual, authorized first, written down, and "
            "captured by itself unless the order was cancelled meanwhile, which then is a void."
        ),
    ] = "automatic"
    provider_timeout_s: Annotated[
        float, Meta(gt=0, le=3.0), Setting("Longest wait for one answer of the provider; then the outcome is unknown.")
    ] = 2.5
    provider_concurrency: Annotated[
        int,
        Meta(ge=1, le=256),
        Setting("Most calls to the provider at once, for new payments; as many again for old ones."),
    ] = 32
    sandbox_url: Annotated[str, Setting("Base URL of the sandbox provider's API.")] = ""
    sandbox_api_key: Annotated[Secret | None, Setting("Key of the sandbox provider's API.")] = None
    sandbox_webhook_secret: Annotated[
        Secret | None,
        Setting("Key that the sandbox provider signs its webhooks with; several, by commas, while one is rolled."),
    ] = None
    stripe_api_key: Annotated[
        Secret | None, Setting("Stripe's secret or restricted key: live in production, a test key in dev.")
    ] = None
    stripe_webhook_secret: Annotated[
        Secret | None,
        Setting("Stripe's signing secret of the webhook endpoint; several, by commas, while one is rolled."),
    ] = None
    stripe_return_url: Annotated[
        str, Setting("Page of the shop that a customer's bank sends them back to after a challenge.")
    ] = ""
    stripe_url: Annotated[str, Setting("Base URL of Stripe's API; another one is a stand-in.")] = STRIPE_URL
    stripe_rehearsal: Annotated[
        bool, Setting("Allows a test key or a stand-in's URL outside of dev: orders are then paid with no real money.")
    ] = False

    @property
    def stripe_webhook_secrets(self) -> list[str]:
        """The signing secrets; a webhook signed with any of them is believed."""
        text = self.stripe_webhook_secret.reveal() if self.stripe_webhook_secret else ""
        return [secret for secret in text.replace(",", " ").split() if secret]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.provider == "auto":
            force_setattr(self, "provider", "sandbox" if self.environment == "dev" else "stripe")
        if faults := list(self._sandbox_faults() if self.provider == "sandbox" else self._stripe_faults()):
            raise SettingsError(faults)

    def _sandbox_faults(self) -> Iterator[str]:
        if self.environment != "dev":
            yield "PAYMENT_PROVIDER: sandbox moves no real money and is refused unless TRADEWIND_ENV=dev"
            return
        needed = {
            "PAYMENT_SANDBOX_URL": self.sandbox_url,
            "PAYMENT_SANDBOX_API_KEY": self.sandbox_api_key,
            "PAYMENT_SANDBOX_WEBHOOK_SECRET": self.sandbox_webhook_secret,
        }
        yield from (
            f"{name}: missing. PAYMENT_PROVIDER=sandbox needs it" for name, value in needed.items() if not value
        )

    def _stripe_faults(self) -> Iterator[str]:
        key = self.stripe_api_key.reveal() if self.stripe_api_key else ""
        needed = {
            "PAYMENT_STRIPE_API_KEY": key,
            "PAYMENT_STRIPE_WEBHOOK_SECRET": self.stripe_webhook_secrets,
            "PAYMENT_STRIPE_RETURN_URL": self.stripe_return_url,
        }
        yield from (f"{name}: missing. PAYMENT_PROVIDER=stripe needs it" for name, value in needed.items() if not value)
        if key and not key.startswith(("sk_live_", "rk_live_", "sk_test_", "rk_test_")):
            yield "PAYMENT_STRIPE_API_KEY: (hidden) is no secret or restricted key of Stripe's (sk_live_..., rk_test_...)"
        if not all(secret.startswith("whsec_") for secret in self.stripe_webhook_secrets):
            yield "PAYMENT_STRIPE_WEBHOOK_SECRET: (hidden) is no signing secret of an endpoint (whsec_...)"
        live = key.startswith(("sk_live_", "rk_live_"))
        if live and self.environment == "dev":
            yield "PAYMENT_STRIPE_API_KEY: a live key moves real money and is refused with TRADEWIND_ENV=dev"
        if live and self.stripe_url != STRIPE_URL:
            yield f"PAYMENT_STRIPE_URL: a live key goes to {STRIPE_URL} and nowhere else"
        if self.environment != "dev" and not self.stripe_rehearsal:
            allowed = "is refused unless TRADEWIND_ENV=dev or PAYMENT_STRIPE_REHEARSAL=true"
            if key.startswith(("sk_test_", "rk_test_")):
                yield f"PAYMENT_STRIPE_API_KEY: a test key moves no real money and {allowed}"
            if self.stripe_url != STRIPE_URL:
                yield f"PAYMENT_STRIPE_URL: another address than {STRIPE_URL} {allowed}"
