"""What every librdkafka instance of ours is told, where its log goes, and what its errors mean."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException

from tradewind.chassis import logs
from tradewind.chassis.errors import Unavailable
from tradewind.chassis.transport.kafka.address import Address

R = TypeVar("R")

REQUEST_TIMEOUT_S = 5.0
MAX_RECONNECT_PAUSE_S = 0.5
SAY_AGAIN_S = 10.0
_REMEMBERED = 200

_log = logs.get_logger("kafka")
_ERROR = 3
"""syslog's, which librdkafka counts in. A broker that is away is an error to it; we wait, so it is a warning to us."""


class _Librdkafka:
    """Stands where librdkafka wants a `logging.Logger`. It tries a broker that is away twenty times a second, and says so."""

    def __init__(self) -> None:
        self._said_at_s: dict[str, float] = {}

    def log(self, level: int, template: str, *args: Any) -> None:
        """`level` is one of `logging`'s."""
        text = template % args if args else template
        now_s = time.monotonic()
        if now_s - self._said_at_s.get(text, -SAY_AGAIN_S) < SAY_AGAIN_S:
            return
        if len(self._said_at_s) >= _REMEMBERED:
            self._said_at_s.clear()
        self._said_at_s[text] = now_s
        if level >= logging.WARNING:
            _log.warning("librdkafka", detail=text)
        else:
            _log.debug("librdkafka", detail=text)


def settings(address: Address, member: str) -> dict[str, Any]:
    """The settings all instances share. `member` is how the process is called."""
    return {
        **address.security,
        "bootstrap.servers": address.servers,
        "client.id": member,
        "logger": _Librdkafka(),
        "log_level": _ERROR,
        # A broker that comes back is found at once: the default doubles up to 10 s.
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": int(MAX_RECONNECT_PAUSE_S * 1e3),
        "retry.backoff.ms": 50,
        "retry.backoff.max.ms": 500,
        # One that is frozen is given up after this; its long polls are shorter.
        "socket.timeout.ms": 6_000,
        "socket.connection.setup.timeout.ms": 5_000,
        "socket.nagle.disable": True,
        "enable.metrics.push": False,
    }


def away(address: Address, reason: object) -> Unavailable:
    """The error of a cluster that does not do what we asked."""
    error = reason.args[0] if isinstance(reason, KafkaException) and reason.args else reason
    said = error.str() if isinstance(error, KafkaError) else str(error)
    return Unavailable("bus-unavailable", f"Kafka at {address.servers}: {said}")


async def in_thread(address: Address, call: Callable[[], R], *, timeout_s: float = REQUEST_TIMEOUT_S) -> R:
    """What `call`, which blocks, returns. It has to end by itself; we wait for `timeout_s` and a little.

    Raises:
        Unavailable: `bus-unavailable`, naming the address.
    """
    return await answered(address, asyncio.to_thread(call), timeout_s=timeout_s + 1.0)


async def answered(address: Address, waiting: Awaitable[R], *, timeout_s: float) -> R:
    """The result of `waiting`, with librdkafka's errors translated.

    Raises:
        Unavailable: `bus-unavailable`, naming the address.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await waiting
    except KafkaException as exc:
        raise away(address, exc) from exc
    except TimeoutError as exc:
        raise away(address, f"no answer within {timeout_s:g} s") from exc
