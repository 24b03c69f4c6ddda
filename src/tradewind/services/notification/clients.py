"""Whom notification-service asks: a mail server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Protocol
from urllib.parse import unquote, urlsplit

import aiosmtplib

from tradewind.chassis.breaker import Permit
from tradewind.chassis.circuit import Circuit
from tradewind.chassis.errors import Unavailable
from tradewind.chassis.metrics import Metrics
from tradewind.services.notification.templates import Letter

WINDOW_S, LEAST_CALLS, OPEN_S = 60.0, 4, 15.0
"""The mail job meets a server that is away every few seconds only, so the circuit looks back further than others do."""

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

    def require(self) -> None:
        """Return if the server may be called now.

        Raises:
            Unavailable: `smtp-unavailable`: it is failing and is left alone for now.
        """
        ...

    def session(self) -> contextlib.AbstractAsyncContextManager[MailSession]:
        """Connect; raises `Unavailable` when that fails, or the server is left alone for now."""
        ...


def smtp_circuit(metrics: Metrics) -> Circuit:
    """The circuit of the mail server."""
    return Circuit("smtp", metrics, window_s=WINDOW_S, least_calls=LEAST_CALLS, open_s=OPEN_S)


class SmtpMailer:
    """A mail server reached by SMTP. `url` is smtp://, smtp+starttls:// or smtps://, with credentials if it wants them.

    `timeout_s` bounds connecting, and each mail on its own. An answer of the server, a refusal too, speaks for it; no
    connection and no answer speak against it.

    Raises:
        ValueError: the URL is of none of these forms.
    """

    def __init__(self, url: str, *, timeout_s: float, circuit: Circuit | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in _SCHEMES or not parts.hostname:
            raise ValueError("NOTIFICATION_SMTP_URL must be smtp://host:port, smtp+starttls:// or smtps://")
        self._parts = parts
        self.timeout_s = timeout_s
        self.circuit = circuit or smtp_circuit(Metrics())

    def require(self) -> None:
        if self.circuit.breaker.retry_after_s() > 0.0:
            raise _left_alone(self.circuit)

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[MailSession]:
        permit = self.circuit.breaker.ask()
        if permit is None:
            raise _left_alone(self.circuit)
        parts = self._parts
        smtp = aiosmtplib.SMTP(
            hostname=parts.hostname, port=parts.port or _SCHEMES[parts.scheme], timeout=self.timeout_s,
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            use_tls=parts.scheme == "smtps", start_tls=parts.scheme == "smtp+starttls",
        )  # fmt: skip
        session = _SmtpSession(smtp, permit, self.timeout_s)
        try:
            await session.connect()
            yield session
        finally:
            await session.close()


class _SmtpSession:
    """One connection and the permit it was made under. After a failure it only hangs up: the server may be in mid-answer."""

    def __init__(self, smtp: aiosmtplib.SMTP, permit: Permit, timeout_s: float) -> None:
        self._smtp = smtp
        self._permit = permit
        self._timeout_s = timeout_s
        self._failed = False

    async def connect(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._smtp.connect()
        except (aiosmtplib.SMTPException, OSError) as exc:
            raise self._failure(exc) from exc

    async def send(self, letter: Letter) -> None:
        try:
            # The driver's own time-out is for each command; a mail takes several.
            async with asyncio.timeout(self._timeout_s):
                await self._smtp.sendmail(letter.sender, letter.recipient, letter.content)
        except aiosmtplib.SMTPServerDisconnected as exc:
            raise self._failure(exc) from exc
        except (aiosmtplib.SMTPResponseException, aiosmtplib.SMTPRecipientsRefused) as exc:
            self._permit.succeeded()
            raise MailRefused(f"{type(exc).__name__}: {getattr(exc, 'code', '')}") from exc
        except (aiosmtplib.SMTPException, OSError) as exc:
            raise self._failure(exc) from exc
        self._permit.succeeded()

    async def close(self) -> None:
        self._permit.abandoned()
        if self._failed:
            self._smtp.close()
            return
        with contextlib.suppress(aiosmtplib.SMTPException, OSError):
            async with asyncio.timeout(self._timeout_s):
                await self._smtp.quit()

    def _failure(self, exc: Exception) -> Unavailable:
        self._failed = True
        self._permit.failed()
        return _unavailable(exc)


def _left_alone(circuit: Circuit) -> Unavailable:
    return Unavailable(
        "smtp-unavailable",
        "The mail server is failing and is left alone for now.",
        retry_after_s=circuit.breaker.retry_after_s() or 1.0,
    )


def _unavailable(exc: Exception) -> Unavailable:
    return Unavailable("smtp-unavailable", f"The mail server is away ({type(exc).__name__}).")
