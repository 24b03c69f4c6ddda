"""What user-service needs from its environment."""

from __future__ import annotations

from tradewind.chassis.settings import DatabaseServiceSettings


class UserSettings(DatabaseServiceSettings, frozen=True, kw_only=True):
    """Settings of user-service: those of every service with a database."""

    PREFIX = "USER_"
