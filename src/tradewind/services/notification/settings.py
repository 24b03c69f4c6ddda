"""What notification-service needs from its environment."""

from __future__ import annotations

from typing import Annotated

from tradewind.chassis.settings import Count, DatabaseServiceSettings, Seconds, Secret, Setting


class NotificationSettings(DatabaseServiceSettings, frozen=True, kw_only=True):
    """Variables `NOTIFICATION_*`."""

    PREFIX = "NOTIFICATION_"

    smtp_url: Annotated[Secret, Setting("Mail server: smtp://[user:password@]host:port, smtp+starttls:// or smtps://.")]
    mail_from: Annotated[str, Setting("Sender of all mail; its domain also ends the Message-IDs.")] = (
        "Tradewind <orders@tradewind.example>"
    )
    mail_timeout_s: Annotated[Seconds, Setting("Longest time for one mail, from connect to accepted.", live=True)] = (
        10.0
    )
    mail_batch: Annotated[Count, Setting("Most mails sent over one connection.")] = 50
