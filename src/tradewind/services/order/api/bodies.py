"""Bodies of requests, which refuse what they do not know, and of answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec

from tradewind.chassis.http import Id
from tradewind.contracts.money import Currency, Money
from tradewind.contracts.order import OrderLine
from tradewind.services.order.domain.order import Address, Order, PaymentStatus, Status
from tradewind.services.order.domain.pricing import MAX_LINES, MAX_QUANTITY, MAX_UNIT_PRICE_MINOR
from tradewind.services.order.domain.product import Product
from tradewind.services.order.domain.saga import Consequence, DeadlineName, deadline_of
from tradewind.services.order.store.orders import Told

MAX_STOCK = 10**9

# In Python `$` also fits before a line feed at the end; `(?!\n)` says that it must not, and says nothing elsewhere.
Sku = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$(?!\n)", examples=["mug-blue"])]
CustomerId = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^(all|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$(?!\n)",
        description="A customer's id, or `all`; for support and finance.",
    ),
]
Line = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"\S")]
Handle = Annotated[
    str,
    msgspec.Meta(
        # Not a card's number (ISO/IEC 7812: up to 19 digits): it would be stored, and travel in an event.
        pattern=r"^(?!([0-9][._:-]*){12,19}$)[A-Za-z0-9][A-Za-z0-9._:-]{0,254}$(?!\n)",
        description="The provider's handle of a payment method; a card's number is refused.",
        examples=["pm_card_visa"],
    ),
]


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one piece costs."""

    amount_minor: Annotated[int, msgspec.Meta(ge=1, le=MAX_UNIT_PRICE_MINOR, description="Minor units.")]
    currency: Currency


class NewProduct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A product to be added."""

    sku: Sku
    name: Line
    price: Price
    stock: Annotated[int, msgspec.Meta(ge=0, le=MAX_STOCK)]
    description: Annotated[str, msgspec.Meta(max_length=10_000)] = ""


class ProductChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to change of a product; absent fields stay as they are."""

    name: Line | msgspec.UnsetType = msgspec.UNSET
    description: Annotated[str, msgspec.Meta(max_length=10_000)] | msgspec.UnsetType = msgspec.UNSET
    price: Price | msgspec.UnsetType = msgspec.UNSET


class StockChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Pieces that came, or, when negative, that are gone."""

    delta: Annotated[int, msgspec.Meta(ge=-MAX_STOCK, le=MAX_STOCK)]


class ProductView(msgspec.Struct, frozen=True):
    """A product. `stock` is how many pieces can be ordered now."""

    sku: str
    name: str
    description: str
    price: Money
    stock: int
    created_at: datetime
    updated_at: datetime


class WantedLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """So many pieces of a product; the price is the catalogue's."""

    sku: Sku
    quantity: Annotated[int, msgspec.Meta(ge=1, le=MAX_QUANTITY)]


class AddressBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A postal address. `country` is an ISO 3166-1 alpha-2 code."""

    name: Line
    line1: Line
    line2: Line | None = None
    city: Line
    postal_code: Annotated[str, msgspec.Meta(min_length=1, max_length=20, pattern=r"\S")]
    region: Line | None = None
    country: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{2}$(?!\n)", examples=["DE"])]


class PlaceOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An order to be placed, with one of `shipping_address` and `shipping_address_id`, an address kept at user-service.

    Lines with the same SKU are added up.
    """

    lines: Annotated[list[WantedLine], msgspec.Meta(min_length=1, max_length=MAX_LINES)]
    payment_method: Handle
    shipping_address: AddressBody | None = None
    shipping_address_id: Id | None = None


class Shipment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who carries the goods, and under which tracking number."""

    carrier: Line
    tracking: Line


class NextAction(msgspec.Struct, frozen=True):
    """Where the customer has to go before the money can move."""

    url: str


class PaymentOfOrder(msgspec.Struct, frozen=True, omit_defaults=True):
    """The order's payment. `code` says why it failed, such as `card_declined`."""

    id: str
    status: PaymentStatus
    code: str | msgspec.UnsetType = msgspec.UNSET
    next_action: NextAction | msgspec.UnsetType = msgspec.UNSET


class DeadlineView(msgspec.Struct, frozen=True):
    """Until when the next step is awaited, and what follows if it is not made.

    `name` is `payment`, `shipping`, `delivery` or `settlement` (of a cancelled order's money). `then`: the order is
    `cancelled`, `support_told`, or `payment_asked_again`. `overdue`: it passed, and the order still waits.
    """

    name: DeadlineName
    at: datetime
    then: Consequence
    overdue: bool


class OrderView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An order. `refunded` is what was given back so far, `deadline` is absent at its end."""

    id: str
    number: str
    customer_id: str
    status: Status
    lines: list[OrderLine]
    total: Money
    refunded: Money
    payment: PaymentOfOrder
    shipping_address: Address
    created_at: datetime
    updated_at: datetime
    deadline: DeadlineView | msgspec.UnsetType = msgspec.UNSET


class TimelineView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One sentence of an order's story: when, what, because of what; `detail` depends on the event.

    `event_id` is the event that brought the news, `trace_id` the trace it happened in, `by` who gave the command or
    asked for the refund.
    """

    id: int
    at: datetime
    event: str
    cause: str
    detail: dict[str, Any]
    by: str | msgspec.UnsetType = msgspec.UNSET
    event_id: str | msgspec.UnsetType = msgspec.UNSET
    trace_id: str | msgspec.UnsetType = msgspec.UNSET


class Timeline(msgspec.Struct, frozen=True):
    """One page of an order's story. `next_cursor` is null on the last one, `deadline` at the end of the order."""

    items: list[TimelineView]
    next_cursor: str | None
    deadline: DeadlineView | None


def product_view(product: Product) -> ProductView:
    """A product as clients see it."""
    return ProductView(
        sku=product.sku,
        name=product.name,
        description=product.description,
        price=product.price,
        stock=product.stock,
        created_at=product.created_at,
        updated_at=product.updated_at,
    )


def order_view(order: Order) -> OrderView:
    """An order as clients see it. There is something to do only while the order waits for its money."""
    payment = order.payment
    url = payment.action_url if order.status == "pending" else None
    return OrderView(
        id=order.id,
        number=order.number,
        customer_id=order.customer_id,
        status=order.status,
        lines=order.lines,
        total=order.total,
        refunded=order.refunded,
        payment=PaymentOfOrder(
            id=payment.id,
            status=payment.status,
            code=msgspec.UNSET if payment.code is None else payment.code,
            next_action=msgspec.UNSET if url is None else NextAction(url),
        ),
        shipping_address=order.shipping_address,
        created_at=order.created_at,
        updated_at=order.updated_at,
        deadline=deadline_view(order) or msgspec.UNSET,
    )


def deadline_view(order: Order) -> DeadlineView | None:
    """What an order waits for, as clients see it; None at its end."""
    deadline = deadline_of(order)
    if deadline is None or order.deadline_at is None:
        return None
    return DeadlineView(
        name=deadline.name,
        at=order.deadline_at,
        then=deadline.then,
        overdue=order.look_at != order.deadline_at,
    )


def entry_view(entry: Told, *, names_people: bool) -> TimelineView:
    """A timeline entry as clients see it; with `names_people` it says who gave a command."""
    return TimelineView(
        id=entry.id,
        at=entry.at,
        event=entry.event,
        cause=entry.cause,
        detail=entry.detail,
        by=entry.by if names_people and entry.by else msgspec.UNSET,
        event_id=entry.event_id or msgspec.UNSET,
        trace_id=entry.trace_id or msgspec.UNSET,
    )
