"""What a piece of code may know about the request it works for, without being handed it: its id and its deadline.

The HTTP door opens the scope; log lines take the id from it, outgoing calls take both.
"""

from __future__ import annotations

import time
from contextvars import ContextVar, Token

from tradewind.chassis.errors import Unavailable

REQUEST_ID_HEADER = "x-request-id"
TIMEOUT_HEADER = "x-tradewind-timeout-ms"


class RequestScope:
    """An id, and the moment (`time.monotonic`, seconds) after which nobody waits for the answer; None: no deadline."""

    __slots__ = ("deadline_s", "request_id")

    def __init__(self, request_id: str, deadline_s: float | None) -> None:
        self.request_id = request_id
        self.deadline_s = deadline_s


_current: ContextVar[RequestScope | None] = ContextVar("tradewind_request", default=None)


class use_request:  # noqa: N801 - reads as a verb where it is used, and a class is half the price of a generator
    """Work for the request `request_id`, which the caller gives `timeout_s` from now; None: as long as it takes."""

    __slots__ = ("_scope", "_token")

    def __init__(self, request_id: str, timeout_s: float | None = None) -> None:
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        self._scope = RequestScope(request_id, deadline_s)
        self._token: Token[RequestScope | None] | None = None

    def __enter__(self) -> RequestScope:
        self._token = _current.set(self._scope)
        return self._scope

    def __exit__(self, *exc_info: object) -> None:
        if self._token is None:
            return
        try:
            _current.reset(self._token)
        except ValueError:
            # An abandoned async generator (a stream) is closed in another context; there is nothing to restore there.
            return


class without_deadline(use_request):  # noqa: N801
    """Work for the same request, and for others that wait for it as well: nobody's deadline cuts it short."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(current_request_id() or "")


def current_request_id() -> str | None:
    """The id of the request being served, if any."""
    scope = _current.get()
    return (scope.request_id or None) if scope is not None else None


def remaining_s(most_s: float) -> float:
    """Seconds that a step may take: `most_s`, or what the caller has left if that is less (0.0: too late)."""
    scope = _current.get()
    if scope is None or scope.deadline_s is None:
        return most_s
    return max(0.0, min(most_s, scope.deadline_s - time.monotonic()))


def require_time() -> None:
    """Return if somebody still waits for the answer: asked before each step that costs a neighbour something.

    Raises:
        Unavailable: 504 `deadline-exceeded`.
    """
    scope = _current.get()
    if scope is not None and scope.deadline_s is not None and time.monotonic() >= scope.deadline_s:
        raise Unavailable("deadline-exceeded", "The caller's time is up; nothing more was begun.", status=504)


def parse_timeout_ms(value: str | None) -> float | None:
    """Seconds from an `x-tradewind-timeout-ms` header: 1 to 600,000 ms; anything else is no deadline."""
    if value is None or not value.isascii() or not value.isdigit() or len(value) > 6:
        return None
    timeout_ms = int(value)
    return timeout_ms / 1000 if 1 <= timeout_ms <= 600_000 else None
