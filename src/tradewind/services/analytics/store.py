"""What analytics-service remembers: all its SQL. Facts are written once per event and never guessed from each other."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from tradewind.chassis.postgres import Record, Statements, Tx
from tradewind.services.analytics.domain import Interval, Period


class OrderFact(msgspec.Struct, frozen=True, kw_only=True):
    """An order was placed."""

    order_id: str
    customer_id: str
    currency: str
    total_minor: int
    placed_at: datetime


class LineFact(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a placed order."""

    order_id: str
    line: int
    sku: str
    name: str
    quantity: int
    amount_minor: int


class MoneyFact(msgspec.Struct, frozen=True, kw_only=True):
    """Money moved: `captured` towards us, `refunded` back."""

    event_id: str
    order_id: str
    kind: str
    currency: str
    amount_minor: int
    moved_at: datetime


async def save_orders(tx: Tx, orders: Sequence[OrderFact], lines: Sequence[LineFact]) -> None:
    """Note placed orders and their lines."""
    await tx.execute(
        "WITH placed AS ("
        "  INSERT INTO order_fact (order_id, customer_id, currency, total_minor, placed_at)"
        "  SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::timestamptz[])"
        ") INSERT INTO line_fact (order_id, line, sku, name, quantity, amount_minor)"
        "  SELECT * FROM unnest($6::uuid[], $7::int[], $8::text[], $9::text[], $10::int[], $11::bigint[])",
        [o.order_id for o in orders], [o.customer_id for o in orders], [o.currency for o in orders],
        [o.total_minor for o in orders], [o.placed_at for o in orders],
        [n.order_id for n in lines], [n.line for n in lines], [n.sku for n in lines], [n.name for n in lines],
        [n.quantity for n in lines], [n.amount_minor for n in lines],
    )  # fmt: skip


async def confirm_orders(tx: Tx, order_ids: Sequence[str], at: Sequence[datetime]) -> None:
    """Note when orders were confirmed."""
    await tx.execute(
        "UPDATE order_fact SET confirmed_at = new.at FROM unnest($1::uuid[], $2::timestamptz[]) AS new (id, at)"
        " WHERE order_id = new.id",
        order_ids, at,
    )  # fmt: skip


async def cancel_orders(tx: Tx, order_ids: Sequence[str], at: Sequence[datetime]) -> None:
    """Note when orders were cancelled."""
    await tx.execute(
        "UPDATE order_fact SET cancelled_at = new.at FROM unnest($1::uuid[], $2::timestamptz[]) AS new (id, at)"
        " WHERE order_id = new.id",
        order_ids, at,
    )  # fmt: skip


async def save_money(tx: Tx, facts: Sequence[MoneyFact]) -> None:
    """Note money that moved."""
    await tx.execute(
        "INSERT INTO money_fact (event_id, order_id, kind, currency, amount_minor, moved_at)"
        " SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::timestamptz[])",
        [f.event_id for f in facts], [f.order_id for f in facts], [f.kind for f in facts],
        [f.currency for f in facts], [f.amount_minor for f in facts], [f.moved_at for f in facts],
    )  # fmt: skip


async def summary(statements: Statements, period: Period) -> list[Record]:
    """One row a currency, by name."""
    return await statements.rows(
        "WITH placed AS ("
        "  SELECT currency, count(*) AS orders, count(DISTINCT customer_id) AS customers FROM order_fact"
        "  WHERE placed_at >= $1 AND placed_at < $2 GROUP BY currency"
        "), confirmed AS ("
        "  SELECT currency, count(*) AS confirmed FROM order_fact"
        "  WHERE confirmed_at >= $1 AND confirmed_at < $2 GROUP BY currency"
        "), cancelled AS ("
        "  SELECT currency, count(*) AS cancelled FROM order_fact"
        "  WHERE cancelled_at >= $1 AND cancelled_at < $2 GROUP BY currency"
        "), money AS ("
        "  SELECT currency, coalesce(sum(amount_minor) FILTER (WHERE kind = 'captured'), 0)::bigint AS gross,"
        "    coalesce(sum(amount_minor) FILTER (WHERE kind = 'refunded'), 0)::bigint AS refunded"
        "  FROM money_fact WHERE moved_at >= $1 AND moved_at < $2 GROUP BY currency"
        ") SELECT currency, coalesce(orders, 0) AS orders, coalesce(confirmed, 0) AS confirmed,"
        "    coalesce(cancelled, 0) AS cancelled, coalesce(gross, 0) AS gross, coalesce(refunded, 0) AS refunded,"
        "    coalesce(customers, 0) AS customers"
        "  FROM placed FULL JOIN confirmed USING (currency) FULL JOIN cancelled USING (currency)"
        "  FULL JOIN money USING (currency) ORDER BY currency",
        period.start, period.end,
    )  # fmt: skip


async def revenue(statements: Statements, period: Period, interval: Interval, *, limit: int) -> list[Record]:
    """Money by interval and currency, newest intervals first, at most `limit` rows."""
    return await statements.rows(
        "SELECT date_trunc($3, moved_at, 'UTC') AS start, currency,"
        "  coalesce(sum(amount_minor) FILTER (WHERE kind = 'captured'), 0)::bigint AS gross,"
        "  coalesce(sum(amount_minor) FILTER (WHERE kind = 'refunded'), 0)::bigint AS refunded"
        " FROM money_fact WHERE moved_at >= $1 AND moved_at < $2 GROUP BY 1, 2 ORDER BY 1 DESC, 2 LIMIT $4",
        period.start, period.end, interval, limit,
    )  # fmt: skip


async def top_products(statements: Statements, period: Period, *, limit: int) -> list[Record]:
    """What orders confirmed in the period, and not cancelled since, hold most of."""
    return await statements.rows(
        "SELECT sku, max(name) AS name, currency, sum(quantity)::bigint AS quantity,"
        "  sum(amount_minor)::bigint AS amount FROM line_fact JOIN order_fact USING (order_id)"
        " WHERE confirmed_at >= $1 AND confirmed_at < $2 AND cancelled_at IS NULL"
        " GROUP BY sku, currency ORDER BY quantity DESC, amount DESC, sku LIMIT $3",
        period.start, period.end, limit,
    )  # fmt: skip
