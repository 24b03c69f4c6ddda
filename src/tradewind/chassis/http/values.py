"""What handlers take and give beside their own types: the call, a reply, a page, a precondition."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from datetime import MAXYEAR, MINYEAR, datetime
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from starlette.requests import Request

from tradewind.chassis.errors import Conflict, FieldError, Invalid
from tradewind.chassis.identity import Caller

P = TypeVar("P")
T = TypeVar("T")
C = TypeVar("C", bound=msgspec.Struct)

DEFAULT_LIMIT = 20
MAX_LIMIT = 100

# Python's `$` also matches before a newline at the end, other dialects' does not; both know the look-ahead.
Id = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$(?!\n)")]
"""A UUID in canonical form. As a path parameter, anything else is 404."""


class Call(Generic[P]):
    """One request on its way through a handler: the room's parts, who asks, and the raw request behind it."""

    __slots__ = ("_caller", "parts", "request", "request_id")

    def __init__(self, parts: P, request: Request, request_id: str, caller: Caller | None) -> None:
        self.parts = parts
        self.request = request
        self.request_id = request_id
        self._caller = caller

    @property
    def caller(self) -> Caller:
        """Who asks; only for operations that require a token."""
        if self._caller is None:
            raise RuntimeError("this operation does not require a caller; use caller_or_none")
        return self._caller

    @property
    def caller_or_none(self) -> Caller | None:
        """Who asks, where the operation's access is OPTIONAL."""
        return self._caller


class Reply(Generic[T]):
    """A body with something beside it: another status, headers, an entity tag, a location."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self,
        body: T,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        etag: str | None = None,
        location: str | None = None,
    ) -> None:
        self.body = body
        self.status = status
        self.headers = dict(headers or {})
        if etag is not None:
            self.headers["etag"] = etag
        if location is not None:
            self.headers["location"] = location


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a list. `next_cursor` is null on the last one."""

    items: list[T]
    next_cursor: str | None


class Moment(msgspec.Struct, frozen=True, array_like=True):
    """The position in a list that is ordered by time, then by id: where a page ended."""

    at: Annotated[datetime, msgspec.Meta(tz=True)]
    id: Id

    def __post_init__(self) -> None:
        # At the very ends of the calendar there are times that have none in UTC, which is what the database keeps.
        if not MINYEAR < self.at.year < MAXYEAR:
            raise ValueError("out of range")


class PageQuery(msgspec.Struct, frozen=True):
    """`?limit=` (1..100, default 20) and `?cursor=` of a list request."""

    limit: int = DEFAULT_LIMIT
    cursor: str | None = None

    def after(self, kind: type[C]) -> C | None:
        """The position to go on behind, as the struct (`array_like=True`) that `page` was given.

        Raises:
            Invalid: 400 `cursor-invalid`.
        """
        if self.cursor is None:
            return None
        try:
            padded = self.cursor + "=" * (-len(self.cursor) % 4)
            return msgspec.json.decode(base64.b64decode(padded, altchars=b"-_", validate=True), type=kind)
        except (binascii.Error, ValueError, msgspec.MsgspecError) as exc:
            raise Invalid(
                "cursor-invalid",
                "The cursor is not one this list gave out.",
                errors=[FieldError("?cursor", "cursor-invalid")],
                status=400,
            ) from exc

    def page(
        self, found: Sequence[Any], render: Callable[[Any], T], cursor: Callable[[Any], msgspec.Struct]
    ) -> Page[T]:
        """Make a page of `found`, which holds up to `limit + 1` rows: the one too many says that there is more."""
        shown = found[: self.limit]
        more = len(found) > self.limit
        return Page([render(row) for row in shown], _encode_cursor(cursor(shown[-1])) if more else None)


def _encode_cursor(position: msgspec.Struct) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).rstrip(b"=").decode()


def etag(version: int) -> str:
    """The entity tag of version `version` of a thing."""
    return f'"v{version}"'


class IfMatch(msgspec.Struct, frozen=True):
    """The `If-Match` header of a change; absent means that any version will do.

    A weak tag will do as well: ours name versions, not bytes, and the edge makes them weak where it compresses.
    """

    tags: frozenset[str] = frozenset()

    def require(self, version: int) -> None:
        """Refuse the change unless the thing still has the version the caller saw.

        Raises:
            Conflict: 412 `version-mismatch`.
        """
        if self.tags and "*" not in self.tags and not {etag(version), f"W/{etag(version)}"} & self.tags:
            raise Conflict("version-mismatch", "It was changed in the meantime; read it again.", status=412)
