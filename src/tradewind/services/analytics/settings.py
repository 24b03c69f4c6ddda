"""What analytics-service needs from its environment."""

from __future__ import annotations

from tradewind.chassis.settings import DatabaseServiceSettings


class AnalyticsSettings(DatabaseServiceSettings, frozen=True, kw_only=True):
    """Variables `ANALYTICS_*`."""

    PREFIX = "ANALYTICS_"
