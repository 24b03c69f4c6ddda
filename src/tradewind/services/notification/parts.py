"""What the use cases of notification-service work with; `app.py` puts it together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tradewind.chassis.clock import Clock
from tradewind.chassis.postgres import Database
from tradewind.services.notification.clients import Mailer
from tradewind.services.notification.templates import Templates


@dataclass(frozen=True, kw_only=True)
class Parts:
    """`wake_mail` has due mails sent now; `mail_batch` is the most over one connection."""

    clock: Clock
    database: Database
    mailer: Mailer
    templates: Templates
    wake_mail: Callable[[], None]
    mail_from: str
    mail_batch: int = 50
