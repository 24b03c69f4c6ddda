"""What stops auth-service from starting."""

from __future__ import annotations

import pytest

from tradewind.chassis.settings import SettingsError, load
from tradewind.services.auth.settings import AuthSettings

NEEDED = {"AUTH_DATABASE_URL": "postgresql://x", "AUTH_SIGNING_KEYS_FILE": "/keys.json"}


def test_an_administrator_is_not_needed() -> None:
    settings = load(AuthSettings, NEEDED)
    assert (settings.admin_email, settings.admin_password, settings.session_ttl_s) == ("", None, 30 * 86_400)


def test_the_administrators_password_is_never_shown() -> None:
    admin = {"TRADEWIND_ADMIN_EMAIL": "root@example.test", "TRADEWIND_ADMIN_PASSWORD": "correct horse"}
    assert "correct horse" not in repr(load(AuthSettings, NEEDED | admin))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"TRADEWIND_ADMIN_EMAIL": "root@example.test"}, "TRADEWIND_ADMIN_PASSWORD"),
        ({"TRADEWIND_ADMIN_PASSWORD": "correct horse"}, "TRADEWIND_ADMIN_EMAIL"),
        ({"TRADEWIND_ADMIN_EMAIL": "root", "TRADEWIND_ADMIN_PASSWORD": "correct horse"}, "TRADEWIND_ADMIN_EMAIL"),
        ({"TRADEWIND_ADMIN_EMAIL": "r@e.test", "TRADEWIND_ADMIN_PASSWORD": "short"}, "TRADEWIND_ADMIN_PASSWORD"),
        ({"AUTH_HASH_THREADS": "0"}, "AUTH_HASH_THREADS"),
    ],
)
def test_a_wrong_value_is_named(wrong: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(AuthSettings, NEEDED | wrong)
    assert named in str(refused.value)
    assert "correct horse" not in str(refused.value)
