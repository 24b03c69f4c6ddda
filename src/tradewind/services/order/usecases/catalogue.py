"""What can be done with products and their stock."""

from __future__ import annotations

import msgspec

from tradewind.chassis.errors import Conflict, NotFound
from tradewind.chassis.http import IfMatch
from tradewind.chassis.postgres import Tx
from tradewind.contracts.money import Money
from tradewind.services.order.domain.currencies import check_currency
from tradewind.services.order.domain.product import Product
from tradewind.services.order.domain.stock import Movement
from tradewind.services.order.parts import Parts
from tradewind.services.order.store import products


async def get_product(parts: Parts, sku: str) -> Product:
    """One product, from the cache where it is there.

    Raises:
        NotFound: `product-not-found`.
    """
    product = await parts.cache.get_or_load(
        cache_key(sku), ttl_s=parts.product_ttl_s, type=Product, load=lambda: products.find_product(parts.database, sku)
    )
    if product is None:
        raise _no_such_product(sku)
    return product


async def list_products(parts: Parts, *, after: str, limit: int) -> list[Product]:
    """Up to `limit` products behind the SKU `after`, in the order of their SKUs; perhaps a moment old."""
    return await products.list_products(parts.database.read, after=after, limit=limit)


async def add_product(parts: Parts, *, sku: str, name: str, description: str, price: Money, stock: int) -> Product:
    """Put a new product into the catalogue.

    Raises:
        Invalid: the price is in no currency.
        Conflict: `sku-taken`.
    """
    check_currency(price.currency)
    now = parts.clock.now()
    product = Product(
        sku=sku,
        name=name,
        description=description,
        price=price,
        stock=stock,
        version=1,
        created_at=now,
        updated_at=now,
    )
    if not await products.add_product(parts.database, product):
        raise Conflict("sku-taken", f"There is a product {sku} already.")
    return product


async def change_product(
    parts: Parts, sku: str, if_match: IfMatch, *, name: str | None, description: str | None, price: Money | None
) -> Product:
    """Change what is given; None leaves a field as it is. Orders that were placed keep the price they had.

    Raises:
        Invalid: the price is in no currency.
        NotFound: `product-not-found`.
        Conflict: 412 `version-mismatch`.
    """
    if price is not None:
        check_currency(price.currency)
    async with parts.database.transaction() as tx:
        product = await products.find_product(tx, sku, lock=True)
        if product is None:
            raise _no_such_product(sku)
        if_match.require(product.version)
        changed = msgspec.structs.replace(
            product,
            name=product.name if name is None else name,
            description=product.description if description is None else description,
            price=product.price if price is None else price,
            version=product.version + 1,
            updated_at=parts.clock.now(),
        )
        await products.save_product(tx, changed)
        tx.after_commit(lambda: parts.cache.invalidate_soon(cache_key(sku)))
    return changed


async def change_stock(parts: Parts, tx: Tx, sku: str, delta: int) -> Product:
    """Add goods that came, or take away (`delta` < 0) goods that are gone.

    Raises:
        NotFound: `product-not-found`.
        Conflict: `stock-negative`, fewer are available than would be taken away.
    """
    if await products.find_product(tx, sku) is None:
        raise _no_such_product(sku)
    short = await products.move_goods(tx, [Movement(sku, "delta", delta)], parts.clock.now())
    if short:
        raise Conflict("stock-negative", f"Only {short[sku]} of {sku} are available.")
    tx.after_commit(lambda: parts.cache.invalidate_soon(cache_key(sku)))
    product = await products.find_product(tx, sku)
    assert product is not None
    return product


def cache_key(sku: str) -> str:
    """Where a product is in the cache."""
    return f"product:{sku}"


def _no_such_product(sku: str) -> NotFound:
    return NotFound("product-not-found", f"There is no product {sku}.")
