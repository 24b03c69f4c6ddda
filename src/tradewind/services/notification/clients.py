"""Whom notification-service asks: a mail server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Protocol
from urllib.parse import unquote, urlsplit

import aiosmtplib

from tradewind.chassis.errors import Unavailable
from tradewind.services.notification.templates import Letter

_SCHEMES = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}


class MailRefused(Exception):
    """The mail server answered and would not take this mail; the next one may pass."""


class MailSession(Protocol):
    """An open connection to a mail server."""

    async def send(self, letter: Letter) -> None:
        """Return once the server has taken responsibility for the mail.

        Raises:
            MailRefused: it would not.
            Unavailable: `smtp-unavailable`; whether it did is unknown.
        """
        ...


class Mailer(Protocol):
    """A way to a mail server."""

    def session(self) -> contextlib.AbstractAsyncContextManager[MailSession]:
        """Connect; raises `Unavailable` when that fails."""
        ...


class SmtpMailer:
    """A mail server reached by SMTP. `url` is smtp://, smtp+starttls:// or smtps://, with credentials if it wants them.

    Raises:
        ValueError: the URL is of none of these forms.
    """

    def __init__(self, url: str, *, timeout_s: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in _SCHEMES or not parts.hostname:
            raise ValueError("NOTIFICATION_SMTP_URL must be smtp://host:port, smtp+starttls:// or smtps://")
        self._parts = parts
        self._timeout_s = timeout_s

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[MailSession]:
        parts = self._parts
        smtp = aiosmtplib.SMTP(
            hostname=parts.hostname, port=parts.port or _SCHEMES[parts.scheme], timeout=self._timeout_s,
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            use_tls=parts.scheme == "smtps", start_tls=parts.scheme == "smtp+starttls",
        )  # fmt: skip
        try:
            await smtp.connect()
        except (aiosmtplib.SMTPException, OSError) as exc:
            raise _unavailable(exc) from exc
        try:
            yield _SmtpSession(smtp)
        finally:
            with contextlib.suppress(aiosmtplib.SMTPException, OSError):
                await smtp.quit()


class _SmtpSession:
    def __init__(self, smtp: aiosmtplib.SMTP) -> None:
        self._smtp = smtp

    async def send(self, letter: Letter) -> None:
        try:
            await self._smtp.sendmail(letter.sender, letter.recipient, letter.content)
        except (aiosmtplib.SMTPResponseException, aiosmtplib.SMTPRecipientsRefused) as exc:
            raise MailRefused(f"{type(exc).__name__}: {getattr(exc, 'code', '')}") from exc
        except (aiosmtplib.SMTPException, OSError) as exc:
            raise _unavailable(exc) from exc


def _unavailable(exc: Exception) -> Unavailable:
    return Unavailable("smtp-unavailable", f"The mail server is away ({type(exc).__name__}).")
