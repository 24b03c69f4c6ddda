"""Orders and their timelines, as they are stored."""

# ruff: noqa: S608 - only the constants below are formatted into statements

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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
    payment_code, payment_action_url, shipping_address, version, event_version, created_at, updated_at, deadline_at, look_at
"""
_FIND = f"SELECT {_COLUMNS} FROM orders WHERE id = $1"
# Whoever moves orders takes the time from here: all instances have one clock then, and none of them can be fast.
_LOCK = f"SELECT {_COLUMNS}, now() AS time FROM orders WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE"
_LOCK_DUE = f"""
    SELECT {_COLUMNS}, now() AS time FROM orders WHERE look_at <= now()
    ORDER BY look_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
"""
_COUNT_STUCK = """
    SELECT status, count(*) FROM orders WHERE look_at <= now() GROUP BY status
    UNION ALL
    SELECT status, count(*) FROM orders
    WHERE deadline_at IS NOT NULL AND look_at IS DISTINCT FROM deadline_at AND coalesce(look_at > now(), true) GROUP BY status
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
        VALUES (
            $10, $11, $12, $13, $14::jsonb, $15, $16, $17, $18, $19, $20, $21, $22::jsonb, $23, $24, $25, $26, $27, $28
        )
    ), told AS (
        INSERT INTO order_timeline (order_id, at, event, cause, detail, by, trace_id)
        VALUES ($10, $29, $30, $31, $32::jsonb, $33, $34)
    ), event AS (
        {insert_sql(35)}
    )
    {stock.MOVED}
"""
_SAVE = f"""
    WITH {stock.MOVE}, saved AS (
        UPDATE orders SET (
            status, refunded_minor, payment_status, payment_code, payment_action_url, version, event_version, updated_at,
            deadline_at, look_at
        ) = (
            ch.status, ch.refunded_minor, ch.payment_status, ch.payment_code, ch.payment_action_url, ch.version,
            ch.event_version, ch.updated_at, ch.deadline_at, ch.look_at
        )
        FROM unnest(
            $10::uuid[], $11::text[], $12::bigint[], $13::text[], $14::text[], $15::text[], $16::int[], $17::int[],
            $18::timestamptz[], $19::timestamptz[], $20::timestamptz[]
        ) AS ch (
            id, status, refunded_minor, payment_status, payment_code, payment_action_url, version, event_version,
            updated_at, deadline_at, look_at
        )
        WHERE orders.id = ch.id
    ), told AS (
        INSERT INTO order_timeline (order_id, at, event, cause, detail, by, event_id, trace_id)
        SELECT order_id, at, event, cause, detail, by, event_id, trace_id
        FROM unnest(
            $21::uuid[], $22::timestamptz[], $23::text[], $24::text[], $25::jsonb[], $26::uuid[], $27::uuid[], $28::text[]
        ) WITH ORDINALITY AS entry (order_id, at, event, cause, detail, by, event_id, trace_id, line)
        ORDER BY line
    )
    {stock.MOVED}
"""
_TIMELINE = """
    SELECT id, at, event, cause, detail, by, event_id, trace_id
    FROM order_timeline WHERE order_id = $1 AND id > $2 ORDER BY id LIMIT $3
"""
_MOVED = """
    SELECT told.order_id::text FROM unnest($1::uuid[], $2::bigint[]) AS told (order_id, last)
    WHERE EXISTS (SELECT FROM order_timeline AS t WHERE t.order_id = told.order_id AND t.id > told.last)
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
    by: str | None
    event_id: str | None
    trace_id: str | None


class Locked(msgspec.Struct, frozen=True):
    """Orders that are ours until the transaction ends, and the time, by the database's clock."""

    orders: dict[str, Order]
    now: datetime | None


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
        order.updated_at, order.deadline_at, order.look_at,
        entry.at, entry.event, entry.cause, _text(entry.detail), entry.by, entry.trace_id,
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
        [order.deadline_at for order in orders],
        [order.look_at for order in orders],
        [entry.order_id for entry in entries],
        [entry.at for entry in entries],
        [entry.event for entry in entries],
        [entry.cause for entry in entries],
        [_text(entry.detail) for entry in entries],
        [entry.by for entry in entries],
        [entry.event_id for entry in entries],
        [entry.trace_id for entry in entries],
    )
    if short := stock.short(rows):
        raise RuntimeError(f"the stock does not have what its orders hold: {short}")


async def lock_orders(tx: Tx, order_ids: Collection[str]) -> Locked:
    """These orders, locked in the order of their ids; unknown ones are left out."""
    return _locked(await tx.rows(_LOCK, list(order_ids)))


async def lock_due_orders(tx: Tx, limit: int) -> Locked:
    """Orders past their deadline, the oldest first, locked; those that somebody else has locked are left out."""
    return _locked(await tx.rows(_LOCK_DUE, limit))


async def count_stuck(statements: Statements) -> dict[Status, int]:
    """How many orders of each status are past its deadline, whether or not the job has seen to them."""
    counts: dict[Status, int] = {}
    for row in await statements.rows(_COUNT_STUCK):
        counts[row["status"]] = counts.get(row["status"], 0) + row["count"]
    return counts


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
    return [_told(row) for row in rows]


async def list_moved(statements: Statements, told: Mapping[str, int]) -> list[str]:
    """Which of these orders have entries behind the one that was `told` last; an index probe for each."""
    rows = await statements.rows(_MOVED, list(told), list(told.values()))
    return [row["order_id"] for row in rows]


def _locked(rows: Sequence[Record]) -> Locked:
    return Locked({str(row["id"]): _order(row) for row in rows}, rows[0]["time"] if rows else None)


def _told(row: Record) -> Told:
    by, event_id = row["by"], row["event_id"]
    return Told(
        id=row["id"],
        at=row["at"],
        event=row["event"],
        cause=row["cause"],
        detail=msgspec.json.decode(row["detail"]),
        by=None if by is None else str(by),
        event_id=None if event_id is None else str(event_id),
        trace_id=row["trace_id"],
    )


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
        deadline_at=row["deadline_at"],
        look_at=row["look_at"],
    )
