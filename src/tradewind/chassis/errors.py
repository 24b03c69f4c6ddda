"""The seven kinds of error a service may answer with, and their RFC 9457 rendering.

A room adds a stable slug to a kind and never invents a kind of its own::

    raise Conflict("out-of-stock", "Only 2 of SKU mug-blue are left.")

One function, `problem_document`, turns any of them into `application/problem+json`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

PROBLEM_MEDIA_TYPE = "application/problem+json"
PROBLEM_TYPE_PREFIX = "urn:tradewind:problem:"


class FieldError(msgspec.Struct, frozen=True, omit_defaults=True):
    """One wrong field. `pointer` is an RFC 6901 JSON pointer into the body, or `?name` for a query parameter."""

    pointer: str
    code: str
    detail: str = ""


class Problem(Exception):
    """An answer that is not a success. Raise one of the kinds below, never this class.

    `code` is the stable slug clients switch on, `detail` a sentence for people; `retry_after_s` becomes `Retry-After`.
    `status` narrows the kind's own status to another the kind allows (an `Invalid` may be 400, 413, 415 or 422).
    """

    default_status: ClassVar[int] = 500
    statuses: ClassVar[frozenset[int]] = frozenset()
    title: ClassVar[str] = "Problem"

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        if status is not None and status not in self.statuses:
            raise ValueError(f"{type(self).__name__} cannot answer {status}")
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.retry_after_s = retry_after_s
        self.status = status or self.default_status


class Invalid(Problem):
    """The request itself is wrong, and the same request will be wrong again."""

    default_status = 422
    statuses = frozenset({400, 405, 413, 415, 422})
    title = "Invalid request"


class Unauthenticated(Problem):
    """Nobody, or nobody we can verify, is asking."""

    default_status = 401
    statuses = frozenset({401})
    title = "Authentication required"


class Forbidden(Problem):
    """The caller is known and lacks the role."""

    default_status = 403
    statuses = frozenset({403})
    title = "Not allowed"


class NotFound(Problem):
    """No such thing, or somebody else's."""

    default_status = 404
    statuses = frozenset({404})
    title = "Not found"


class Conflict(Problem):
    """The request is right and the state of things does not allow it (409), or a precondition failed (412)."""

    default_status = 409
    statuses = frozenset({409, 412})
    title = "Conflict"


class RateLimited(Problem):
    """Too much from one caller."""

    default_status = 429
    statuses = frozenset({429})
    title = "Too many requests"


class Unavailable(Problem):
    """A thing we need is away; the same request may succeed later."""

    default_status = 503
    statuses = frozenset({502, 503, 504})
    title = "Temporarily unavailable"


KIND_OF_STATUS: dict[int, type[Problem]] = {
    status: kind
    for kind in (Invalid, Unauthenticated, Forbidden, NotFound, Conflict, RateLimited, Unavailable)
    for status in kind.statuses
}


def problem_document(problem: Problem, *, request_id: str = "", trace_id: str = "") -> dict[str, Any]:
    """The RFC 9457 object of a problem, with our members `code`, `request_id`, `trace_id` and `errors`."""
    document: dict[str, Any] = {
        "type": PROBLEM_TYPE_PREFIX + problem.code,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail or problem.title,
        "code": problem.code,
    }
    if request_id:
        document["request_id"] = request_id
    if trace_id:
        document["trace_id"] = trace_id
    if problem.errors:
        document["errors"] = problem.errors
    return document


def problem_from_document(status: int, document: Mapping[str, Any], *, retry_after_s: float | None = None) -> Problem:
    """The kind that another service's problem document stands for; an unknown status is `Unavailable`."""
    kind = KIND_OF_STATUS.get(status, Unavailable)
    errors = [
        FieldError(str(item.get("pointer", "")), str(item.get("code", "")), str(item.get("detail", "")))
        for item in document.get("errors", ())
    ]
    return kind(
        str(document.get("code", "upstream-unavailable")),
        str(document.get("detail", "")),
        errors=errors,
        retry_after_s=retry_after_s,
        status=status if status in kind.statuses else None,
    )
