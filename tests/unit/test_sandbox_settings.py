"""A wrong setting stops the start and is named; no secret is ever shown."""

from __future__ import annotations

import pytest

from tradewind.chassis.settings import SettingsError
from tradewind.sandbox.settings import read_settings

GOOD = {
    "TRADEWIND_ENV": "dev",
    "PSP_SANDBOX_STATE": "state",
    "PSP_SANDBOX_API_KEY": "sk_0123456789abcdef",
    "PSP_SANDBOX_WEBHOOK_SECRET": "whsec_0123456789abcdef",
}


def test_defaults() -> None:
    settings = read_settings(GOOD)
    assert (settings.host, settings.port, settings.latency_ms, settings.seed) == ("127.0.0.1", 0, 20, 0)
    assert (settings.webhook_url, settings.webhook_delay_ms, settings.webhook_double_percent) == ("", 0, 5)
    assert settings.webhook_shuffle is False


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"TRADEWIND_ENV": "prod"}, "TRADEWIND_ENV"),
        ({"TRADEWIND_ENV": ""}, "TRADEWIND_ENV"),
        ({"PSP_SANDBOX_STATE": ""}, "PSP_SANDBOX_STATE"),
        ({"PSP_SANDBOX_PORT": "70000"}, "PSP_SANDBOX_PORT"),
        ({"PSP_SANDBOX_LATENCY_MS": "-1"}, "PSP_SANDBOX_LATENCY_MS"),
        ({"PSP_SANDBOX_LATENCY_MS": "fast"}, "PSP_SANDBOX_LATENCY_MS"),
        ({"PSP_SANDBOX_WEBHOOK_DOUBLE_PERCENT": "101"}, "PSP_SANDBOX_WEBHOOK_DOUBLE_PERCENT"),
        ({"PSP_SANDBOX_WEBHOOK_SHUFFLE": "perhaps"}, "PSP_SANDBOX_WEBHOOK_SHUFFLE"),
        ({"PSP_SANDBOX_WEBHOOK_URL": "ftp://example.test/x"}, "PSP_SANDBOX_WEBHOOK_URL"),
        ({"PSP_SANDBOX_WEBHOOK_URL": "http://example.test:port/"}, "PSP_SANDBOX_WEBHOOK_URL"),
        ({"PSP_SANDBOX_PUBLIC_URL": "example.test"}, "PSP_SANDBOX_PUBLIC_URL"),
        ({"PSP_SANDBOX_API_KEY": "short"}, "PSP_SANDBOX_API_KEY"),
        ({"PSP_SANDBOX_WEBHOOK_SECRET": ""}, "PSP_SANDBOX_WEBHOOK_SECRET"),
    ],
)
def test_a_wrong_value_is_named(change: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings(GOOD | change)
    assert [fault.split(":")[0] for fault in refused.value.faults] == [named]
    assert "0123456789abcdef" not in str(refused.value)
    assert "short" not in str(refused.value).replace("shorter", "")


def test_it_is_refused_where_the_environment_is_not_given() -> None:
    with pytest.raises(SettingsError, match="TRADEWIND_ENV=dev"):
        read_settings({name: value for name, value in GOOD.items() if name != "TRADEWIND_ENV"})
