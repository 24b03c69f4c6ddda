"""Products and stock over HTTP."""

from __future__ import annotations

import msgspec

from tradewind.chassis.errors import FieldError, Invalid
from tradewind.chassis.http import PUBLIC, Call, IfMatch, Page, PageQuery, Reply, etag, roles
from tradewind.chassis.postgres import Tx
from tradewind.contracts.money import Money
from tradewind.services.order.api.bodies import (
    NewProduct,
    Price,
    ProductChange,
    ProductView,
    Sku,
    StockChange,
    product_view,
)
from tradewind.services.order.api.door import api
from tradewind.services.order.domain.product import Product
from tradewind.services.order.parts import Parts
from tradewind.services.order.usecases import catalogue as usecases

ADMIN = roles("admin")


class _Position(msgspec.Struct, array_like=True):
    sku: Sku


@api.get("/v1/products", access=PUBLIC)
async def list_products(call: Call[Parts], page: PageQuery) -> Page[ProductView]:
    """List the products, in the order of their SKUs."""
    position = page.after(_Position)
    found = await usecases.list_products(call.parts, after=position.sku if position else "", limit=page.limit + 1)
    return page.page(found, product_view, lambda product: _Position(product.sku))


@api.get("/v1/products/{sku}", access=PUBLIC, raises=("product-not-found",))
async def get_product(call: Call[Parts], sku: Sku) -> Reply[ProductView]:
    """Show a product.

    The entity tag counts changes of what a product is and costs. Goods that move do not change it, or a new price would
    lose against every sale.
    """
    return _reply(await usecases.get_product(call.parts, sku))


@api.post("/v1/products", access=ADMIN, status=201, raises=("sku-taken",))
async def add_product(call: Call[Parts], body: NewProduct) -> Reply[ProductView]:
    """Add a product with its first stock.

    No `Idempotency-Key` is needed: a repetition finds its SKU taken and brings no goods.
    """
    product = await usecases.add_product(
        call.parts,
        sku=body.sku,
        name=body.name,
        description=body.description,
        price=_money(body.price),
        stock=body.stock,
    )
    return Reply(product_view(product), etag=etag(product.version), location=f"/v1/products/{product.sku}")


@api.patch("/v1/products/{sku}", access=ADMIN, raises=("product-not-found", "version-mismatch"))
async def change_product(call: Call[Parts], sku: Sku, body: ProductChange, if_match: IfMatch) -> Reply[ProductView]:
    """Change what a product is called, says or costs.

    Orders that were placed keep the price they had.
    """
    product = await usecases.change_product(
        call.parts,
        sku,
        if_match,
        name=None if body.name is msgspec.UNSET else body.name,
        description=None if body.description is msgspec.UNSET else body.description,
        price=None if body.price is msgspec.UNSET else _money(body.price),
    )
    return _reply(product)


@api.post("/v1/products/{sku}/stock", access=ADMIN, idempotent=True, raises=("product-not-found", "stock-negative"))
async def change_stock(call: Call[Parts], tx: Tx, sku: Sku, body: StockChange) -> Reply[ProductView]:
    """Add goods to the stock, or take some out of it.

    Goods that orders hold cannot be taken out.
    """
    if body.delta == 0:
        detail = "It must not be 0."
        raise Invalid("invalid", f"{detail} at /delta", errors=[FieldError("/delta", "range", detail)])
    return _reply(await usecases.change_stock(call.parts, tx, sku, body.delta))


def _money(price: Price) -> Money:
    return Money(price.amount_minor, price.currency)


def _reply(product: Product) -> Reply[ProductView]:
    return Reply(product_view(product), etag=etag(product.version))
