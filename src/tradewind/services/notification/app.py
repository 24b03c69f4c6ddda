"""How notification-service is assembled."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from tradewind.chassis.clock import Clock
from tradewind.chassis.foundation import Foundation
from tradewind.chassis.jobs import Job
from tradewind.chassis.postgres import Database
from tradewind.chassis.service import Service
from tradewind.services.notification.clients import Mailer, SmtpMailer
from tradewind.services.notification.jobs import mail_job
from tradewind.services.notification.settings import NotificationSettings
from tradewind.services.notification.templates import Templates


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the use cases work with."""

    clock: Clock
    database: Database
    mailer: Mailer
    templates: Templates
    mail_from: str
    mail_batch: int = 50
    mail: Job[Parts] = field(default_factory=mail_job)


def create_app(settings: NotificationSettings, parts: Parts | None = None) -> Service[Parts]:
    """Describe the service; `parts` replaces what would be assembled (tests)."""
    from tradewind.services.notification.api import api
    from tradewind.services.notification.consumer import handlers

    @contextlib.asynccontextmanager
    async def assemble(foundation: Foundation) -> AsyncIterator[Parts]:
        yield parts or Parts(
            clock=foundation.clock,
            database=foundation.database,
            mailer=SmtpMailer(settings.smtp_url.reveal(), timeout_s=settings.mail_timeout_s),
            templates=Templates(),
            mail_from=settings.mail_from,
            mail_batch=settings.mail_batch,
        )

    return Service(
        room="notification", api=api, assemble=assemble, handlers=handlers, jobs=lambda assembled: [assembled.mail]
    )
