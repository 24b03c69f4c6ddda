"""How a careful client sends: with a time limit on each try, and the same key again until it knows what became of it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import aiohttp

from tradewind.traffic.client import Answer, Refused, Shop

TRY_TIMEOUT_S = 8.0
RETRY_FIRST_S = 0.1
RETRY_MAX_S = 4.0
PATIENCE_S = 60.0
"""After which a client gives up on a keyed request; what became of it is then unknown to it."""
READ_TRIES = 3
_AWAY = frozenset({500, 502, 503, 504})


class UnknownOutcome(Exception):
    """The client gave up: no try was answered."""


class Sender:
    """Sends through one `Shop` and counts: what is in flight now, what was tried again and why, what should never be answered."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._in_flight = 0
        self._changed = asyncio.Event()
        self.requests = 0
        self.gave_up = 0
        self.tried_again: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        """Answers that no fault excuses, such as a 500."""
        self.last_success_began_s = 0.0
        """When the youngest write that succeeded had been sent, on the monotonic clock."""

    @property
    def in_flight(self) -> int:
        """Requests sent and not answered."""
        return self._in_flight

    async def until_in_flight(self, wanted: int, timeout_s: float) -> int:
        """How many requests are in flight, as soon as there are `wanted`, or after `timeout_s`.

        Nothing else of this event loop runs between the count and what the caller does next without awaiting.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._in_flight < wanted:
                    self._changed.clear()
                    await self._changed.wait()
        return self._in_flight

    async def read(self, path: str, token: str | None) -> Any:
        """The body of a GET; None when it was not answered after a few tries.

        Raises:
            Refused: 4xx.
        """
        for number in range(READ_TRIES):
            try:
                return (await self._once("GET", path, token=token)).body
            except Refused as refused:
                if refused.status < 500:
                    raise
                self._note(refused)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                self.tried_again[_name(error)] += 1
            await asyncio.sleep(_pause_s(number))
        return None

    async def write(
        self,
        path: str,
        *,
        token: str | None = None,
        body: Any = None,
        key: str | None = None,
        patience_s: float = PATIENCE_S,
    ) -> Answer:
        """A POST. With a key it is sent again until it is answered; without one only if it cannot have been sent.

        Raises:
            Refused: an answer that no retry changes.
            UnknownOutcome: there was none in `patience_s`, or there was no key to ask again with.
        """
        give_up_at_s = time.monotonic() + patience_s
        number = 0
        while True:
            began_s = time.monotonic()
            try:
                answer = await self._once("POST", path, token=token, body=body, key=key)
            except Refused as refused:
                if refused.status not in _AWAY and refused.code != "idempotency-in-progress":
                    raise
                self._note(refused)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                self.tried_again[_name(error)] += 1
            else:
                self.last_success_began_s = max(self.last_success_began_s, began_s)
                return answer
            if key is None or time.monotonic() > give_up_at_s:
                self.gave_up += key is not None
                raise UnknownOutcome
            await asyncio.sleep(_pause_s(number))
            number += 1

    async def _once(self, method: str, path: str, **options: Any) -> Answer:
        with self._flying():
            async with asyncio.timeout(TRY_TIMEOUT_S):
                return await self._shop.call(method, path, **options)

    def _note(self, refused: Refused) -> None:
        self.tried_again[f"{refused.status} {refused.code}"] += 1
        if refused.status == 500:
            self.wrong[f"500 {refused.code} {refused.problem.get('instance', '')}".strip()] += 1

    @contextlib.contextmanager
    def _flying(self) -> Iterator[None]:
        self.requests += 1
        self._in_flight += 1
        self._changed.set()
        try:
            yield
        finally:
            self._in_flight -= 1


def _name(error: BaseException) -> str:
    return type(error).__name__


def _pause_s(number: int) -> float:
    """Doubling, and spread: clients that all come back in the same moment keep down what they wait for."""
    return random.uniform(0.5, 1.0) * min(RETRY_MAX_S, RETRY_FIRST_S * 2.0 ** min(number, 8))
