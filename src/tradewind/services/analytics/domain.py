"""What the figures mean. Amounts are integers of minor units, periods are half-open and in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec

from tradewind.chassis.errors import FieldError, Invalid

Interval = Literal["hour", "day", "week"]

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
END = datetime(9999, 1, 1, tzinfo=UTC)
Minor = Annotated[int, msgspec.Meta(description="Minor units of the currency.")]


class Period(msgspec.Struct, frozen=True):
    """From `start` (inclusive) to `end` (exclusive), both aware and in UTC."""

    start: datetime
    end: datetime


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One currency in one period: orders by when they were placed, confirmed and cancelled; money by when it moved."""

    currency: str
    orders: int
    confirmed: int
    cancelled: int
    gross: Minor
    refunded: Minor
    net: Minor
    customers: int
    average_order: Minor


class Revenue(msgspec.Struct, frozen=True, kw_only=True):
    """The money of one currency that moved in the interval beginning at `start`."""

    start: datetime
    currency: str
    gross: Minor
    refunded: Minor
    net: Minor


class TopProduct(msgspec.Struct, frozen=True, kw_only=True):
    """What one product sold in confirmed orders."""

    sku: str
    name: str
    currency: str
    quantity: int
    amount: Minor


def period(from_: datetime | None, to: datetime | None) -> Period:
    """The period of a query; an open side is unbounded, a time without an offset is UTC.

    Raises:
        Invalid: 400 `period-invalid`, it ends before it begins.
    """
    start, end = _utc(from_) or BEGINNING, _utc(to) or END
    if end < start:
        raise Invalid(
            "period-invalid",
            "The period ends before it begins.",
            errors=[FieldError("?to", "period-invalid")],
            status=400,
        )
    return Period(start, end)


def _utc(moment: datetime | None) -> datetime | None:
    if moment is None:
        return None
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError as exc:
        raise Invalid("period-invalid", "That time is out of range.", status=400) from exc


def average(amount_minor: int, count: int) -> int:
    """The mean, rounded half up to a whole minor unit; 0 of nothing."""
    return (2 * amount_minor + count) // (2 * count) if count else 0
