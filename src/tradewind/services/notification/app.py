"""How notification-service is assembled."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from tradewind.chassis.foundation import Foundation
from tradewind.chassis.service import Service
from tradewind.services.notification.api import api
from tradewind.services.notification.clients import SmtpMailer, smtp_circuit
from tradewind.services.notification.consumer import handlers
from tradewind.services.notification.jobs import mail_job
from tradewind.services.notification.parts import Parts
from tradewind.services.notification.settings import NotificationSettings
from tradewind.services.notification.templates import Templates

LINGER_S = 0.1
"""Nobody waits for a notice as for an answer; many of them share a transaction, and their mails a connection."""


def create_app(settings: NotificationSettings, parts: Parts | None = None) -> Service[Parts]:
    """The service, ready to be served; `parts` replaces what it would assemble by itself."""
    mail = mail_job()

    @contextlib.asynccontextmanager
    async def assemble(foundation: Foundation) -> AsyncIterator[Parts]:
        if parts is not None:
            yield parts
            return
        mailer = SmtpMailer(
            settings.smtp_url.reveal(), timeout_s=settings.mail_timeout_s, circuit=smtp_circuit(foundation.metrics)
        )
        live = foundation.live_settings(NotificationSettings)
        mailer.timeout_s = live.value.mail_timeout_s

        def take(_old: NotificationSettings, new: NotificationSettings) -> None:
            mailer.timeout_s = new.mail_timeout_s

        live.on_change(take)
        foundation.readiness.prefer("smtp", mailer.circuit.check)
        yield Parts(
            clock=foundation.clock,
            database=foundation.database,
            mailer=mailer,
            templates=Templates(),
            wake_mail=mail.wake,
            mail_from=settings.mail_from,
            mail_batch=settings.mail_batch,
        )

    return Service(
        room="notification",
        api=api,
        assemble=assemble,
        handlers=handlers,
        linger_s=LINGER_S,
        jobs=lambda _parts: [mail],
    )
