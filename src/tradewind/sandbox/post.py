"""Sends a webhook: one POST over a kept connection, from a small pool of threads.

The standard library's client in threads, because an asynchronous one would cost the process a fifth of its memory for
this alone.
"""

from __future__ import annotations

import asyncio
import http.client
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from tradewind.chassis.clock import Clock
from tradewind.chassis.logs import get_logger
from tradewind.sandbox.signature import SIGNATURE_HEADER, sign

CONCURRENCY = 8
TIMEOUT_S = 5.0
# Shorter than servers keep an idle connection (5 s and more), so that none closes under a request.
KEPT_IDLE_S = 3.0
ANSWER_BYTES_MAX = 64 * 1024
log = get_logger(__name__)


class WebhookPost:
    """Posts bodies to one address, at most CONCURRENCY at a time."""

    def __init__(self, url: str, secret: str, clock: Clock) -> None:
        self._url = urlsplit(url)
        self._target = (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")
        self._secret = secret
        self._clock = clock
        self._threads = ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="sandbox-webhook")
        self._kept = threading.local()

    async def __call__(self, body: bytes, signed_ago_s: int) -> bool:
        """Post `body`, signed as of `signed_ago_s` ago; True when the answer was a 2xx."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._post, body, signed_ago_s)

    def close(self) -> None:
        """Wait for what is under way, at most TIMEOUT_S per step of a request."""
        self._threads.shutdown(cancel_futures=True)

    def _post(self, body: bytes, signed_ago_s: int) -> bool:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "tradewind-sandbox",
            SIGNATURE_HEADER: sign(self._secret, body, int(self._clock.now().timestamp()) - signed_ago_s),
        }
        connection = self._connection()
        try:
            connection.request("POST", self._target, body, headers)
            answer = connection.getresponse()
            answer.read(ANSWER_BYTES_MAX)
            if not answer.isclosed():  # a longer answer than anybody has for a webhook: not worth reading
                connection.close()
        except (OSError, http.client.HTTPException) as exc:
            connection.close()
            log.info("webhook not delivered", error=type(exc).__name__)
            return False
        if not 200 <= answer.status < 300:
            log.info("webhook not taken", status=answer.status)
            return False
        return True

    def _connection(self) -> http.client.HTTPConnection:
        """The connection of the calling thread; it opens itself again after a close."""
        connection: http.client.HTTPConnection | None = getattr(self._kept, "connection", None)
        now_s = self._clock.monotonic_s()
        if connection is not None and now_s - self._kept.used_at_s > KEPT_IDLE_S:
            connection.close()
        self._kept.used_at_s = now_s
        if connection is None:
            kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
            connection = kind(self._url.hostname or "", self._url.port, timeout=TIMEOUT_S)
            self._kept.connection = connection
        return connection
