"""What the sandbox needs from its environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from msgspec import Meta

from tradewind.chassis.settings import Secret, Setting, Settings, SettingsError, load
from tradewind.sandbox.script import read_script

SECRET_LENGTH_MIN = 16


class SandboxSettings(Settings, frozen=True, kw_only=True):
    """Environment of `python -m tradewind.sandbox`, prefix `PSP_SANDBOX_`."""

    PREFIX: ClassVar[str] = "PSP_SANDBOX_"

    state: Annotated[str, Setting("Folder of the provider's own store; made when missing.")]
    api_key: Annotated[
        Secret, Setting("Bearer key of the API, 16 characters or more; several, by commas, while one is rolled.")
    ]
    webhook_secret: Annotated[Secret, Setting("Key that webhooks are signed with, 16 characters or more.")]
    environment: Annotated[
        Literal["dev", "prod"], Setting("The sandbox refuses to run elsewhere than in dev.", env="TRADEWIND_ENV")
    ] = "prod"
    host: Annotated[str, Setting("Address the API listens on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535), Setting("Port of the API; 0 takes a free one.")] = 0
    public_url: Annotated[str, Setting("Base of the challenge page's address; default: host and port.")] = ""
    seed: Annotated[int, Setting("Seed of every fault that is drawn, so that a run can be repeated.")] = 0
    latency_ms: Annotated[int, Meta(ge=0, le=60_000), Setting("Time that each change takes at least.")] = 20
    webhook_url: Annotated[str, Setting("Where webhooks are posted to; empty: there are none.")] = ""
    webhook_delay_ms: Annotated[int, Meta(ge=0, le=600_000), Setting("How late a webhook sets out.")] = 0
    webhook_double_percent: Annotated[int, Meta(ge=0, le=100), Setting("Share of webhooks sent twice.")] = 5
    webhook_shuffle: Annotated[bool, Setting("Whether webhooks that are close in time overtake each other.")] = False
    script: Annotated[str, Setting("Rules of what goes wrong, JSON; docs/reference/sandbox.md lists them.")] = ""
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Setting("Least level written.", env="LOG_LEVEL")
    ] = "info"
    log_format: Annotated[Literal["json", "text"], Setting("Form of the log lines.", env="LOG_FORMAT")] = "json"

    @property
    def api_keys(self) -> list[str]:
        """The keys that callers may show."""
        return self.api_key.reveal().split(",")

    @property
    def state_folder(self) -> Path:
        """`state` as a path."""
        return Path(self.state)


def read_settings(environ: Mapping[str, str]) -> SandboxSettings:
    """Read and check the environment.

    Raises:
        SettingsError: a variable is missing or wrong, or this is not a dev environment; each fault is named.
    """
    settings = load(SandboxSettings, environ)
    faults = []
    if settings.environment != "dev":
        faults.append("TRADEWIND_ENV: the sandbox moves no real money and runs only with TRADEWIND_ENV=dev")
    if not settings.state:
        faults.append("PSP_SANDBOX_STATE: empty; it names a folder")
    for name, values in (("API_KEY", settings.api_keys), ("WEBHOOK_SECRET", [settings.webhook_secret.reveal()])):
        if min(map(len, values)) < SECRET_LENGTH_MIN:
            faults.append(f"PSP_SANDBOX_{name}: shorter than {SECRET_LENGTH_MIN} characters")
    for name, url in (("WEBHOOK_URL", settings.webhook_url), ("PUBLIC_URL", settings.public_url)):
        if url and not _is_http(url):
            faults.append(f"PSP_SANDBOX_{name}: not an http:// or https:// address")
    try:
        read_script(settings.script)
    except ValueError as exc:
        faults.append(f"PSP_SANDBOX_SCRIPT: {exc}")
    if faults:
        raise SettingsError(faults)
    return settings


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        return False
