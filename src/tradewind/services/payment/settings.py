"""What payment-service needs from its environment."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from tradewind.chassis.settings import DatabaseServiceSettings, Secret, Setting, SettingsError


class PaymentSettings(DatabaseServiceSettings, frozen=True, kw_only=True):
    """Environment of payment-service.

    Raises:
        SettingsError: the sandbox provider is chosen outside of dev.
    """

    PREFIX: ClassVar[str] = "PAYMENT_"

    provider: Annotated[Literal["sandbox"], Setting("Who moves the money: sandbox, which moves none.")] = "sandbox"
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
    sandbox_url: Annotated[str, Setting("Base URL of the sandbox provider's API.")]
    sandbox_api_key: Annotated[Secret, Setting("Key of the sandbox provider's API.")]
    sandbox_webhook_secret: Annotated[Secret, Setting("Key that the sandbox provider signs its webhooks with.")]

    def __post_init__(self) -> None:
        if self.provider == "sandbox" and self.environment != "dev":
            raise SettingsError(
                ["PAYMENT_PROVIDER: sandbox moves no real money and is refused unless TRADEWIND_ENV=dev"]
            )
