"""The clock door of notification-service."""

from __future__ import annotations

from tradewind.chassis.jobs import Job
from tradewind.services.notification import usecases
from tradewind.services.notification.parts import Parts

MAIL_EVERY_S = 1.0


def mail_job() -> Job[Parts]:
    """Send mails: at once when woken, else every second (for contacts that arrive late and mails that failed)."""
    return Job("mail", MAIL_EVERY_S, usecases.send_due_mails)
