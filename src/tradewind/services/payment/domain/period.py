"""Moments and periods of the books, in UTC. A period is half-open: what is booked at its very end is not in it."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from tradewind.chassis.errors import FieldError, Invalid

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
END = datetime(9999, 1, 1, tzinfo=UTC)


class Period(msgspec.Struct, frozen=True):
    """From `start`, up to and without `end`."""

    start: datetime
    end: datetime


def period(from_: datetime | None, to: datetime | None) -> Period:
    """The period of a query; an open side is unbounded, a time without an offset is UTC.

    Raises:
        Invalid: 400 `period-invalid`, it ends before it begins.
    """
    start, end = moment(from_) or BEGINNING, moment(to) or END
    if end < start:
        detail = "The period ends before it begins."
        raise Invalid("period-invalid", detail, errors=[FieldError("?to", "period-invalid")], status=400)
    return Period(start, end)


def moment(at: datetime | None) -> datetime | None:
    """`at` in UTC, and within what the database can hold. Raises Invalid: 400 `period-invalid`."""
    if at is None:
        return None
    try:
        utc = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except OverflowError as exc:
        raise Invalid("period-invalid", "That time is out of range.", status=400) from exc
    return min(max(utc, BEGINNING), END)
