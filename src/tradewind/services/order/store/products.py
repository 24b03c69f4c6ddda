"""The catalogue, as it is stored."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tradewind.chassis.postgres import Record, Statements, Tx
from tradewind.contracts.money import Money
from tradewind.services.order.domain.pricing import Article
from tradewind.services.order.domain.product import Product
from tradewind.services.order.domain.stock import Movement
from tradewind.services.order.store import stock

_SELECT = """
    SELECT sku, name, description, price_minor, currency, available, version, created_at, updated_at
    FROM product JOIN stock USING (sku)
"""
_INSERT = """
    WITH added AS (
        INSERT INTO product (sku, name, description, price_minor, currency, version, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (sku) DO NOTHING RETURNING sku
    ), journal AS (
        INSERT INTO stock_movement (sku, kind, quantity, at) SELECT sku, 'initial', $9, $7 FROM added
    )
    INSERT INTO stock (sku, available, reserved, sold) SELECT sku, $9, 0, 0 FROM added RETURNING true
"""
_UPDATE = """
    UPDATE product SET name = $2, description = $3, price_minor = $4, currency = $5, version = $6, updated_at = $7
    WHERE sku = $1
"""
_ARTICLES = """
    WITH next AS MATERIALIZED (SELECT nextval('order_serial') AS serial)
    SELECT serial, now() AS time, sku, name, price_minor, currency FROM next LEFT JOIN product ON sku = ANY($1::text[])
"""


async def find_product(statements: Statements, sku: str, *, lock: bool = False) -> Product | None:
    """One product; with `lock` it stays as it is until the transaction ends, while its goods may move."""
    row = await statements.row(f"{_SELECT} WHERE sku = $1{' FOR UPDATE OF product' if lock else ''}", sku)
    return None if row is None else _product(row)


async def list_products(statements: Statements, *, after: str, limit: int) -> list[Product]:
    """Up to `limit` products behind the SKU `after`, in the order of their SKUs."""
    rows = await statements.rows(f"{_SELECT} WHERE product.sku > $1 ORDER BY product.sku LIMIT $2", after, limit)
    return [_product(row) for row in rows]


async def add_product(statements: Statements, product: Product) -> bool:
    """Store a new product with its initial stock; False when the SKU is taken."""
    added = await statements.value(
        _INSERT,
        product.sku, product.name, product.description, product.price.amount_minor, product.price.currency,
        product.version, product.created_at, product.updated_at, product.stock,
    )  # fmt: skip
    return bool(added)


async def save_product(tx: Tx, product: Product) -> None:
    """Write a changed product; its stock is not among what is written."""
    await tx.execute(
        _UPDATE,
        product.sku, product.name, product.description, product.price.amount_minor, product.price.currency,
        product.version, product.updated_at,
    )  # fmt: skip


async def move_goods(tx: Tx, movements: Sequence[Movement], at: datetime) -> dict[str, int]:
    """Move goods that belong to no order; returns the SKUs that had too few, as `stock.short` does."""
    return stock.short(await tx.rows(f"WITH {stock.MOVE} {stock.MOVED}", *stock.arguments(movements, at)))


async def read_articles(tx: Tx, skus: Sequence[str]) -> tuple[int, datetime, dict[str, Article]]:
    """The serial number of the next order, the time, and those of `skus` that the catalogue has; one round trip for all."""
    rows = await tx.rows(_ARTICLES, skus)
    articles = {
        row["sku"]: Article(row["sku"], row["name"], Money(row["price_minor"], row["currency"]))
        for row in rows
        if row["sku"] is not None
    }
    return rows[0]["serial"], rows[0]["time"], articles


def _product(row: Record) -> Product:
    return Product(
        sku=row["sku"],
        name=row["name"],
        description=row["description"],
        price=Money(row["price_minor"], row["currency"]),
        stock=row["available"],
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
