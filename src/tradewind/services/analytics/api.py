"""The HTTP door of analytics-service."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from tradewind.chassis.http import Api, Call, roles
from tradewind.services.analytics import usecases
from tradewind.services.analytics.domain import Interval, Revenue, Summary, TopProduct, period
from tradewind.services.analytics.parts import Parts

api = Api("analytics", tag="Analytics", description="Orders and money in figures. Amounts are minor units.")

READERS = roles("analyst", "finance")
Rows = Annotated[int, msgspec.Meta(ge=1, le=1000)]
Top = Annotated[int, msgspec.Meta(ge=1, le=100)]


class Summaries(msgspec.Struct, frozen=True):
    """A row per currency."""

    items: list[Summary]


class Revenues(msgspec.Struct, frozen=True):
    """A row per interval and currency, newest first."""

    items: list[Revenue]


class TopProducts(msgspec.Struct, frozen=True):
    """A row per product and currency, best seller first."""

    items: list[TopProduct]


@api.get("/v1/analytics/summary", access=READERS, raises=("period-invalid",))
async def get_summary(call: Call[Parts], from_: datetime | None = None, to: datetime | None = None) -> Summaries:
    """Summarise a period.

    Both ends are optional, in UTC, and the period is half-open. Once the streams are idle the money equals the ledger.
    """
    return Summaries(await usecases.summarise(call.parts, period(from_, to)))


@api.get("/v1/analytics/revenue", access=READERS, raises=("period-invalid",))
async def get_revenue(
    call: Call[Parts],
    interval: Interval = "day",
    from_: datetime | None = None,
    to: datetime | None = None,
    limit: Rows = 100,
) -> Revenues:
    """List revenue by hour, day or week."""
    return Revenues(await usecases.list_revenue(call.parts, period(from_, to), interval, limit=limit))


@api.get("/v1/analytics/products/top", access=READERS, raises=("period-invalid",))
async def get_top_products(
    call: Call[Parts], from_: datetime | None = None, to: datetime | None = None, limit: Top = 10
) -> TopProducts:
    """List the best-selling products."""
    return TopProducts(await usecases.list_top_products(call.parts, period(from_, to), limit=limit))
