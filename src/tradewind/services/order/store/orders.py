"""Orders and their timelines, as they are stored."""

# ruff: noqa: S608 - only the constants below are formatted into statements

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import msgspec

from tradewind.chassis.outbox import Entry, insert_sql
from tradewind.chassis.postgres import Record, Statements, Tx
from tradewind.contracts.money import Money
from tradewind.contracts.order import OrderLine
from tradewind.services.order.domain.order import Address, Order, Payment, Status, TimelineEntry
from tradewind.services.order.domain.stock import Movement
from tradewind.services.order.store import stock

_COLUMNS = """
    id, serial, customer_id, status, lines, total_minor, refunded_minor, currency, payment_id, payment_status,
    payment_code, payment_action_url, shipping_address, version, event_version, created_at, updated_at, expires_at
"""
_FIND = f"SELECT {_COLUMNS} FROM orders WHERE id = $1"
_LOCK = f"SELECT {_COLUMNS} FROM orders WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE"
_LOCK_DUE = f"""
    SELECT {_COLUMNS} FROM orders WHERE status = 'pending' AND expires_at <= $1
    ORDER BY expires_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
"""
# `before` is never null: a condition that may be absent would keep the generic plan from using the index.
_LIST_OF_CUSTOMER = f"""
    SELECT {_COLUMNS} FROM orders WHERE customer_id = $1 AND serial < $2 AND ($4::text IS NULL OR status = $4)
    ORDER BY serial DESC LIMIT $3
"""
_LIST_ALL = f"SELECT {_COLUMNS} FROM orders WHERE serial < $1 ORDER BY serial DESC LIMIT $2"
_LIST_OF_STATUS = f"SELECT {_COLUMNS} FROM orders WHERE status = $3 AND serial < $1 ORDER BY serial DESC LIMIT $2"

_PLACE = f"""
    WITH {stock.MOVE}, placed AS (
        INSERT INTO orders ({_COLUMNS})
        VALUES ($10, $11, $12, $13, $14::jsonb, $15, $16, $17, $18, $19, $20, $21, $22::jsonb, $23, $24, $25, $26, $27)
    ), told AS (
        INSERT INTO order_timeline (order_id, at, event, cause, detail) VALUES ($10, $28, $29, $30, $31::jsonb)
    ), event AS (
        {insert_sql(32)}
    )
    {stock.MOVED}
"""
_SAVE = f"""
    WITH {stock.MOVE}, saved AS (
        UPDATE orders SET (
            status, refunded_minor, payment_status, payment_code, payment_action_url, version, event_version, updated_at
        ) = (
            ch.status, ch.refunded_minor, ch.payment_status, ch.payment_code, ch.payment_action_url, ch.version,
            ch.event_version, ch.updated_at
        )
        FROM unnest(
            $10::uuid[], $11::text[], $12::bigint[], $13::text[], $14::text[], $15::text[], $16::int[], $17::int[],
            $18::timestamptz[]
        ) AS ch (
            id, status, refunded_minor, payment_status, payment_code, payment_action_url, version, event_version,
            updated_at
        )
        WHERE orders.id = ch.id
    ), told AS (
        INSERT INTO order_timeline (order_id, at, event, cause, detail)
        SELECT order_id, at, event, cause, detail
        FROM unnest($19::uuid[], $20::timestamptz[], $21::text[], $22::text[], $23::jsonb[])
            WITH ORDINALITY AS entry (order_id, at, event, cause, detail, line)
        ORDER BY line
    )
    {stock.MOVED}
"""
_TIMELINE = """
    SELECT id, at, event, cause, detail FROM order_timeline WHERE order_id = $1 AND id > $2 ORDER BY id LIMIT $3
"""

_LAST = 2**63 - 1
_lines = msgspec.json.Decoder(list[OrderLine])
_address = msgspec.json.Decoder(Address)
_encode = msgspec.json.Encoder().encode


class Told(msgspec.Struct, frozen=True):
    """A timeline entry with its place in the whole story."""

    id: int
    at: datetime
    event: str
    cause: str
    detail: dict[str, Any]


async def place_order(
    tx: Tx, order: Order, movements: Sequence[Movement], entry: TimelineEntry, event: Entry
) -> dict[str, int]:
    """Take the goods and store a new order, its first timeline entry and its event, in one statement.

    Returns the SKUs that have too few pieces, with what is left of each. If there are any, the caller must roll back.
    """
    rows = await tx.rows(
        _PLACE,
        *stock.arguments(movements, order.created_at),
        order.id, order.serial, order.customer_id, order.status, _text(order.lines), order.total.amount_minor,
        order.refunded.amount_minor, order.total.currency, order.payment.id, order.payment.status, order.payment.code,
        order.payment.action_url, _text(order.shipping_address), order.version, order.event_version, order.created_at,
        order.updated_at, order.expires_at,
        entry.at, entry.event, entry.cause, _text(entry.detail),
        *event,
    )  # fmt: skip
    return stock.short(rows)


async def save_orders(
    tx: Tx, orders: Sequence[Order], movements: Sequence[Movement], entries: Sequence[TimelineEntry], at: datetime
) -> None:
    """Write changed orders, move their goods, continue their timelines; one statement, however many they are.

    Raises:
        RuntimeError: goods could not be moved, so the books are wrong.
    """
    rows = await tx.rows(
        _SAVE,
        *stock.arguments(movements, at),
        [order.id for order in orders],
        [order.status for order in orders],
        [order.refunded.amount_minor for order in orders],
        [order.payment.status for order in orders],
        [order.payment.code for order in orders],
        [order.payment.action_url for order in orders],
        [order.version for order in orders],
        [order.event_version for order in orders],
        [order.updated_at for order in orders],
        [entry.order_id for entry in entries],
        [entry.at for entry in entries],
        [entry.event for entry in entries],
        [entry.cause for entry in entries],
        [_text(entry.detail) for entry in entries],
    )
    if short := stock.short(rows):
        raise RuntimeError(f"the stock does not have what its orders hold: {short}")


async def lock_orders(tx: Tx, order_ids: Collection[str]) -> dict[str, Order]:
    """These orders, locked in the order of their ids; unknown ones are left out."""
    return {str(row["id"]): _order(row) for row in await tx.rows(_LOCK, list(order_ids))}


async def lock_due_orders(tx: Tx, now: datetime, limit: int) -> dict[str, Order]:
    """Pending orders past their deadline, the oldest first, locked; those that somebody else has locked are left out."""
    return {str(row["id"]): _order(row) for row in await tx.rows(_LOCK_DUE, now, limit)}


async def find_order(statements: Statements, order_id: str) -> Order | None:
    """One order."""
    row = await statements.row(_FIND, order_id)
    return None if row is None else _order(row)


async def list_orders(
    statements: Statements, *, customer_id: str | None, status: Status | None, before: int | None, limit: int
) -> list[Order]:
    """Up to `limit` orders with serial numbers below `before`, the newest first; of one customer, or of all (None)."""
    if customer_id is not None:
        rows = await statements.rows(_LIST_OF_CUSTOMER, customer_id, before or _LAST, limit, status)
    elif status is not None:
        rows = await statements.rows(_LIST_OF_STATUS, before or _LAST, limit, status)
    else:
        rows = await statements.rows(_LIST_ALL, before or _LAST, limit)
    return [_order(row) for row in rows]


async def list_timeline(statements: Statements, order_id: str, *, after: int, limit: int) -> list[Told]:
    """Up to `limit` entries of an order's story behind the entry `after`, in the order they were written."""
    rows = await statements.rows(_TIMELINE, order_id, after, limit)
    return [Told(row["id"], row["at"], row["event"], row["cause"], msgspec.json.decode(row["detail"])) for row in rows]


def _text(value: object) -> str:
    return _encode(value).decode()


def _order(row: Record) -> Order:
    currency = row["currency"]
    return Order(
        id=str(row["id"]),
        serial=row["serial"],
        customer_id=str(row["customer_id"]),
        status=row["status"],
        lines=_lines.decode(row["lines"]),
        total=Money(row["total_minor"], currency),
        refunded=Money(row["refunded_minor"], currency),
        payment=Payment(
            id=str(row["payment_id"]),
            status=row["payment_status"],
            code=row["payment_code"],
            action_url=row["payment_action_url"],
        ),
        shipping_address=_address.decode(row["shipping_address"]),
        version=row["version"],
        event_version=row["event_version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        expires_at=row["expires_at"],
    )
